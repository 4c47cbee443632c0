"""The staff of an organisation: invited, given roles, shut out. Nobody raises herself, and the last admin stays.

An invitation is one link, good once and for a day; whoever made it hands it over. It says nothing and opens nothing else.
"""

from dataclasses import dataclass
from datetime import datetime

from portal.clock import Source
from portal.db import staff
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Organisation
from portal.db.staff import Invite, Member, StaffSession
from portal.db.tx import ReadTx
from portal.model.errors import InputRefused, NotFound
from portal.model.events import By, NewsChosen, StaffDisabled, StaffInvited, StaffRoleChanged, StaffSessionsEnded
from portal.model.ids import OrgId, StaffId
from portal.model.links import TOKEN_BYTES, link_token, token_hash
from portal.model.parties import address
from portal.model.staff import INVITE_LIFE, Person, Role
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer

NEWS = ("off", "each", "daily")


@dataclass(frozen=True)
class Shown:
    """A member of the staff as admins see her."""

    id: StaffId
    address: str
    role: Role
    added_at: datetime
    disabled_at: datetime | None
    passkeys: int
    by_provider: bool


class StaffPeople:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source) -> None:
        self._db, self._sealer, self._fields, self._source = db, sealer, fields, source

    async def invite(self, org: Organisation, to: str, role: Role, by: By) -> str:
        """Makes an invitation; gives the token of its link. Somebody who was shut out, or lost every passkey, is invited anew.

        Raises InputRefused.
        """
        try:
            who = address(to)
        except ValueError:
            raise InputRefused("This is no mail address.", "address") from None
        now, token = self._source.now(), link_token(self._source.random(TOKEN_BYTES))
        hashed = self._sealer.index(org.id, "sender", str(who))  # whoever sends is found by the same hash
        async with self._db.read() as tx:
            known = await staff.by_address(tx, org.id, hashed)
        if known and known.id == by.actor:
            raise InputRefused("You can't invite yourself. Another admin can.", "address")
        if known and known.disabled_at is None and known.role not in (role, Role.SENDER):
            raise InputRefused("This person is on the staff in another role. Change the role instead.", "address")
        staff_id = known.id if known else StaffId(self._source.new_id())
        field = await self._sealer.field(org.id, staff_id, "staff", str(who).encode())
        member = Member(staff_id, org.id, role, hashed, field.sealed, field.epoch_id, now)
        made = Invite(token_hash(token), org.id, staff_id, now, now + INVITE_LIFE)
        try:
            async with self._db.write(
                StaffInvited(**by.facts(now, org.id), staff=staff_id, role=role.value)
            ) as changed:
                if known is None:
                    await staff.add(changed, member)
                else:
                    await staff.enable(changed, staff_id, role)
                    await staff.end_all(changed, staff_id)
                await staff.invite(changed, made)
        except Duplicate:
            raise InputRefused(
                "Somebody else invited this person at this very moment. Look again.", "address"
            ) from None
        return token

    async def invited(self, token: str) -> tuple[Invite, Member]:
        """Whom an open invitation is for. Raises NotFound."""
        async with self._db.read() as tx:
            found = await staff.open_invite(tx, token_hash(token), self._source.now())
            member = await staff.one(tx, found.org_id, found.staff_id) if found else None
        if found is None or member is None or member.disabled_at:
            raise NotFound("no such invitation, or it is used or old")
        return found, member

    async def every(self, org_id: OrgId) -> list[Shown]:
        async with self._db.read() as tx:
            found = await staff.of_org(tx, org_id)
            keys = await staff.passkeys_counted(tx, org_id)
        return [
            Shown(
                one.id,
                await self.address(one),
                one.role,
                one.added_at,
                one.disabled_at,
                keys.get(one.id, 0),
                one.subject_hash is not None,
            )
            for one in found
        ]

    async def address(self, one: Member | StaffSession) -> str:
        """Where she is reached."""
        staff_id = one.staff_id if isinstance(one, StaffSession) else one.id
        field = Field(one.epoch_id, one.address_sealed)
        return (await self._fields.open(one.org_id, staff_id, "staff", field)).decode()

    async def address_of(self, org_id: OrgId, staff_id: str) -> str:
        """The address of a member of the staff; empty when there is none of this id."""
        async with self._db.read() as tx:
            member = await staff.one(tx, org_id, staff_id)
        return await self.address(member) if member else ""

    async def change_role(self, asker: Person, staff_id: str, role: Role) -> None:
        """Raises NotFound, and InputRefused for one's own role and for the last admin's."""
        member = await self._other(asker, staff_id)
        if member.role is role:
            raise InputRefused("This person has that role already.")
        facts = asker.by.facts(self._source.now(), asker.org_id)
        event = StaffRoleChanged(**facts, staff=member.id, before=member.role.value, role=role.value)
        async with self._db.write(event) as changed:
            await self._check_admins(changed, member)
            if not await staff.set_role(changed, member, role):
                raise InputRefused("Somebody else changed this person at this very moment. Look again.")
            await staff.end_all(changed, member.id)

    async def disable(self, asker: Person, staff_id: str) -> None:
        """Shuts somebody out, at once. Raises NotFound, and InputRefused for oneself and for the last admin."""
        member = await self._other(asker, staff_id)
        facts = asker.by.facts(self._source.now(), asker.org_id)
        async with self._db.write(StaffDisabled(**facts, staff=member.id)) as changed:
            await self._check_admins(changed, member)
            if not await staff.disable(changed, member):
                raise InputRefused("This person is shut out already.")
            await staff.end_all(changed, member.id)

    async def end_sessions(self, asker: Person, staff_id: str) -> None:
        """Raises NotFound."""
        member = await self._other(asker, staff_id)
        async with self._db.read() as tx:
            now = self._source.now()
            count = len(await staff.open_sessions(tx, member.id, now, now))
        facts = asker.by.facts(self._source.now(), asker.org_id)
        async with self._db.write(StaffSessionsEnded(**facts, staff=member.id, count=count)) as changed:
            await staff.end_all(changed, member.id)

    async def news(self, asker: Person) -> str:
        """What a sender chose."""
        async with self._db.read() as tx:
            member = await staff.one(tx, asker.org_id, asker.id)
        return member.news if member else "off"

    async def choose_news(self, asker: Person, news: str) -> None:
        """When a sender is told of her messages. Raises InputRefused."""
        if news not in NEWS:
            raise InputRefused("Choose one of the three.", "news")
        facts = asker.by.facts(self._source.now(), asker.org_id)
        async with self._db.write(NewsChosen(**facts, news=news)) as changed:
            await staff.choose_news(changed, asker.id, news)

    async def _other(self, asker: Person, staff_id: str) -> Member:
        async with self._db.read() as tx:
            member = await staff.one(tx, asker.org_id, staff_id)
        if member is None:
            raise NotFound("nobody of this organisation's staff")
        if member.id == asker.id:
            raise InputRefused("You can't do this to yourself. Another admin can.")
        return member

    async def _check_admins(self, tx: ReadTx, member: Member) -> None:
        """The organisation's row is locked: two admins who remove each other at once can't both succeed."""
        if member.role is Role.ADMIN and member.disabled_at is None and await staff.admins(tx, member.org_id) < 2:
            raise InputRefused("This is the last admin who can sign in. Make another one first.")
