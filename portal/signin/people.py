"""Who a person is beyond her mailbox: a new address, and which of several people reads a shared one.

A new address is proved by a code sent to it, the old one by the sign-in that asks, fresh and as strong as the strongest way in.
History stays. New mail to the old address is for whoever reads that mailbox: it may be another's by now. At a shared mailbox
everybody names herself once signed in, and the record says which session was whose.
"""

import hmac
from dataclasses import dataclass
from datetime import timedelta

from portal.clock import Source
from portal.db import orgs, outbox, people, sessions
from portal.db.engine import Database, Duplicate
from portal.db.people import AddressChange, Member
from portal.db.sessions import Session
from portal.model.codes import CODE_LIFE, TRIES_A_CODE, wait_to_send
from portal.model.errors import CodeRefused, NotFound, TooManyTries, WayRefused
from portal.model.events import (
    AddressChangeAsked,
    AddressChanged,
    MailboxShared,
    MemberNamed,
    SessionEnded,
    SignInFailed,
)
from portal.model.ids import DeliveryId, JobId, MemberId
from portal.model.links import code, keyed_hash, path_hash, read_code, return_token
from portal.model.mails import MailKind
from portal.model.notice import ChangePayload
from portal.model.parties import address
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client, own
from portal.signin.enrolled import Enrolled, check_may_change, enrolled
from portal.signin.tell import Tell

_MOST_NAME = 60
_MOST_MEMBERS = 50


@dataclass(frozen=True)
class Named:
    """One of those who read a shared mailbox."""

    id: MemberId
    name: str


class People:
    """See the module. `codes_key` hashes the codes sent to new addresses."""

    def __init__(
        self, db: Database, sealer: Sealer, fields: Fields, tell: Tell, source: Source, *, codes_key: bytes
    ) -> None:
        self._db, self._sealer, self._fields, self._tell = db, sealer, fields, tell
        self._source, self._key = source, codes_key

    async def address(self, session: Session) -> str:
        return (await self._tell.addresses(session.org_id, session.recipient_id))[0]

    async def enrolled(self, session: Session) -> Enrolled:
        """What the person has to get in with."""
        return await enrolled(self._db, session.recipient_id)

    async def newest_delivery(self, session: Session) -> DeliveryId:
        """The delivery on which mail about the person herself hangs. Raises NotFound."""
        async with self._db.read() as tx:
            newest = await people.newest_delivery(tx, session.recipient_id)
        if newest is None:
            raise NotFound("nobody without a message signs in")
        return newest[0]

    # -- another address

    async def ask_change(self, session: Session, typed: str, client: Client, language: str) -> str:
        """Sends a code to the new address; gives the change's id. Raises WayRefused, TooManyTries, ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        try:
            wanted = address(typed)
        except ValueError:
            raise WayRefused("address-shape", "This is no email address. Check it.", "address") from None
        if str(wanted) == await self.address(session):
            raise WayRefused("address-same", "This is your address already.", "address")
        if await orgs.owner_of_domain(self._db, wanted.domain):
            raise WayRefused(
                "address-sender", "Messages can't go to an address of an organisation that sends from here.", "address"
            )
        now = self._source.now()
        delivery_id = await self.newest_delivery(session)
        async with self._db.read() as tx:
            wait = wait_to_send(await people.changes_since(tx, session.recipient_id, now - timedelta(days=1)), now)
        if wait:
            raise TooManyTries("enough codes were sent to new addresses", wait)
        change_id, digits = self._source.new_id(), code(self._source.random(16))
        field = await self._sealer.field(session.org_id, session.recipient_id, "address", str(wanted).encode())
        change = AddressChange(
            change_id,
            session.org_id,
            session.recipient_id,
            session.token_hash,
            self._sealer.index(session.org_id, "recipient", str(wanted)),
            field.sealed,
            field.epoch_id,
            self._hash(change_id, digits),
            now,
            now + CODE_LIFE,
        )
        back, job_id = return_token(self._source.random(16)), JobId(self._source.new_id())
        payload = ChangePayload("address-code", str(wanted), language, back, detail=f"{digits[:4]} {digits[4:]}")
        sealed = await self._sealer.field(session.org_id, job_id, MailKind.CHANGED.value, payload.dump())
        job = outbox.job_for(
            job_id,
            session.org_id,
            MailKind.CHANGED,
            delivery_id,
            now,
            epoch_id=sealed.epoch_id,
            payload_sealed=sealed.sealed,
            return_hash=path_hash(back),
        )
        event = AddressChangeAsked(**own(session, client, now), change=change_id)
        async with self._db.write(event) as changed:
            await people.ask_change(changed, change)
            await outbox.enqueue(changed, job)
        self._tell.wake()
        return change_id

    async def change(self, session: Session, change_id: str, typed: str, client: Client, language: str) -> None:
        """Takes the new address over. Raises CodeRefused, WayRefused when it is another person's, ProofNeeded."""
        digits, now = read_code(typed), self._source.now()
        if digits is None:
            raise CodeRefused("not 8 digits")
        async with self._db.bookkeeping() as tx:
            wanted = await people.change(tx, change_id)
            if wanted and wanted.session_hash == session.token_hash:
                await people.count_change_try(tx, change_id)
        if (
            wanted is None
            or wanted.session_hash != session.token_hash
            or wanted.used_at is not None
            or wanted.tries >= TRIES_A_CODE
            or now >= wanted.expires_at
            or not hmac.compare_digest(wanted.code_hash, self._hash(change_id, digits))
        ):
            facts = own(session, client, now)
            await self._db.record(
                SignInFailed(**facts, method="address-code", reason="wrong, old, or another session's")
            )
            raise CodeRefused("no open code of this session matches")
        event = AddressChanged(**own(session, client, now), change=change_id)
        try:
            async with self._db.write(event) as changed:
                if not await people.move(changed, wanted):
                    raise CodeRefused("used already")
        except Duplicate:
            raise WayRefused(
                "address-taken",
                "This address gets messages from here already, so the two can't be joined. Call the clinic.",
                "address",
            ) from None
        await self._after_change(session, client, language)

    async def _after_change(self, session: Session, client: Client, language: str) -> None:
        """Tells the old address and the new one, and ends what was open elsewhere."""
        event = SessionEnded(**own(session, client, self._source.now()), ended=(), why="AddressChanged")
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "address-changed", language)
        async with self._db.write(event) as tx:
            await sessions.end_all(tx, session.recipient_id, keep=session.token_hash)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()

    # -- several people at one mailbox

    async def share(self, session: Session, shared: bool, client: Client) -> None:
        """Says that several people read this mailbox, or one again. Raises ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        async with self._db.write(MailboxShared(**own(session, client, self._source.now()), shared=shared)) as tx:
            await people.set_shared(tx, session.recipient_id)

    async def members(self, session: Session) -> list[Named]:
        async with self._db.read() as tx:
            kept = await people.members_of(tx, session.recipient_id)
        return [Named(one.id, await self._name(one)) for one in kept]

    async def name(self, session: Session, member_id: str, typed: str, client: Client) -> None:
        """Says who this session is: one of those known, or somebody new. Raises WayRefused."""
        known = await self.members(session)
        name = " ".join("".join(sign if sign.isprintable() else " " for sign in typed).split())[:_MOST_NAME]
        found = next((one for one in known if one.id == member_id), None)
        if found is None and not name:
            raise WayRefused("who", "Choose your name, or type it.", "name")
        if found is None and len(known) >= _MOST_MEMBERS:
            raise WayRefused("who", "There are too many names for one mailbox. Choose one of them.", "name")
        chosen = found.id if found else MemberId(self._source.new_id())
        now = self._source.now()
        event = MemberNamed(**own(session, client, now), member=chosen, added=found is None)
        field = await self._sealer.field(session.org_id, chosen, "member", name.encode()) if found is None else None
        async with self._db.write(event) as tx:
            if field:
                added = Member(chosen, session.org_id, session.recipient_id, field.sealed, field.epoch_id, now)
                await people.add_member(tx, added)
            await sessions.name_member(tx, session.token_hash, chosen)

    async def _name(self, one: Member) -> str:
        field = Field(one.epoch_id, one.name_sealed)
        return (await self._fields.open(one.org_id, one.id, "member", field)).decode()

    async def names_of_sessions(self, session: Session, refs: set[str]) -> dict[str, str]:
        """Which member each of these sessions of the mailbox was."""
        names = {one.id: one.name for one in await self.members(session)}
        async with self._db.read() as tx:
            whose = await sessions.members_by_session(tx, session.recipient_id, refs)
        return {ref: names.get(member, "") for ref, member in whose.items()}

    def _hash(self, change_id: str, digits: str) -> bytes:
        return keyed_hash(self._key, "address", change_id, digits)
