"""Staff by the organisation's identity provider: who she is says the provider, and which role says a claim, at each sign-in anew.

Whoever the provider names for the first time is bound by its subject; somebody who was invited is found by her verified address.
Who was shut out here stays out, whatever the provider says. Senders without a role of their own come by code.
"""

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import orgs, staff
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Organisation
from portal.db.staff import Member
from portal.db.tx import WriteTx
from portal.identity import Asked, Identity
from portal.model.errors import ContentDamaged, IdentityRefused
from portal.model.events import By, StaffJoined, StaffProved, StaffRoleChanged, StaffSignedIn, StaffSignInFailed, Who
from portal.model.ids import EpochId, StaffId, is_id
from portal.model.parties import address
from portal.model.staff import Role
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client
from portal.signin.staff import stranger
from portal.signin.staff.sessions import StaffSessions

METHOD = "identity-provider"
KEPT = timedelta(minutes=10)


class ProviderSignIn:
    """See the module. `org_slug` names the organisation whose staff the provider knows; `roles` maps its claim to roles."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        sessions: StaffSessions,
        source: Source,
        *,
        issuer: str,
        org_slug: str,
        roles: Mapping[str, Role],
    ) -> None:
        self._db, self._sealer, self._fields, self._sessions, self._source = db, sealer, fields, sessions, source
        self._issuer, self._slug, self._roles = issuer, org_slug, roles

    async def keep(self, asked: Asked, to: str) -> str:
        """What the provider's answer will be held against, sealed, for the browser to keep. Raises IdentityRefused."""
        organisation = await self._organisation()
        kept = [asked.state, asked.nonce, asked.verifier, to, self._source.now().isoformat()]
        field = await self._sealer.field(organisation.id, "-", "provider", json.dumps(kept).encode())
        return f"{field.epoch_id}.{base64.urlsafe_b64encode(field.sealed).decode()}"

    async def kept(self, text: str, state: str) -> tuple[Asked, str]:
        """What this browser began, and where it was going. Raises IdentityRefused unless `state` answers it, within ten minutes."""
        organisation = await self._organisation()
        epoch_id, _, sealed = text.partition(".")
        try:
            if not is_id(epoch_id):
                raise ValueError("no name of a key")
            field = Field(EpochId(epoch_id), base64.urlsafe_b64decode(sealed))
            opened = json.loads(await self._fields.open(organisation.id, "-", "provider", field))
            asked, at = Asked("", *opened[:3]), datetime.fromisoformat(opened[4])
        except (ValueError, ContentDamaged):
            raise IdentityRefused("this browser began no sign-in") from None
        if not asked.answered_by(state) or not timedelta(0) <= self._source.now() - at <= KEPT:
            raise IdentityRefused("the answer is not to this browser's question")
        return asked, str(opened[3])

    async def _organisation(self) -> Organisation:
        async with self._db.read() as tx:
            found = await orgs.by_slug(tx, self._slug)
        if found is None:
            raise IdentityRefused("the organisation of the provider is not here")
        return found

    async def refused(self, reason: str, client: Client) -> None:
        """Puts on record that an answer of the provider let nobody in."""
        facts = stranger(client, self._source.now())
        await self._db.record(StaffSignInFailed(**facts, method=METHOD, reason=reason[:200]))

    async def sign_in(self, identity: Identity, client: Client) -> str:
        """Begins a session; gives its cookie. Raises IdentityRefused."""
        role = next((self._roles[value] for value in self._roles if value in identity.roles), None)
        if role is None:
            raise IdentityRefused("the provider gives no role here")
        organisation = await self._organisation()
        subject = self._sealer.index(organisation.id, "staff subject", f"{self._issuer} {identity.subject}")
        member = await self._member(organisation, identity, subject, role, client)
        if member.disabled_at:
            raise IdentityRefused("shut out here")
        if member.role is not role:
            await self._change_role(member, role, client)

        async def use(tx: WriteTx[StaffSignedIn | StaffProved]) -> None:
            await staff.keep_subject(tx, member.id, subject)

        return await self._sessions.start(member, METHOD, client, use)

    async def _change_role(self, member: Member, role: Role, client: Client) -> None:
        """The provider's word counts anew at each sign-in. Sessions of the role before end, as when an admin changes it."""
        facts = By(Who.STAFF, member.id, origin=client.origin).facts(self._source.now(), member.org_id)
        event = StaffRoleChanged(**facts, staff=member.id, before=member.role.value, role=role.value)
        async with self._db.write(event) as changed:
            if not await staff.set_role(changed, member, role):
                raise IdentityRefused("the role changed meanwhile; try again")
            await staff.end_all(changed, member.id)

    async def _member(
        self, organisation: Organisation, identity: Identity, subject: bytes, role: Role, client: Client
    ) -> Member:
        async with self._db.read() as tx:
            known = await staff.by_subject(tx, organisation.id, subject)
        if known:
            return known
        try:
            who = str(address(identity.email))
        except ValueError:
            raise IdentityRefused("the provider names no verified address") from None
        hashed = self._sealer.index(organisation.id, "sender", who)
        async with self._db.read() as tx:
            known = await staff.by_address(tx, organisation.id, hashed)
        if known and known.subject_hash not in (None, subject):
            raise IdentityRefused("another account of the provider has this address")
        if known:
            return known
        now, staff_id = self._source.now(), StaffId(self._source.new_id())
        field = await self._sealer.field(organisation.id, staff_id, "staff", who.encode())
        member = Member(staff_id, organisation.id, role, hashed, field.sealed, field.epoch_id, now)
        facts = By(Who.STAFF, staff_id, origin=client.origin).facts(now, organisation.id)
        try:
            async with self._db.write(StaffJoined(**facts, staff=staff_id, role=role.value)) as changed:
                await staff.add(changed, member)
        except Duplicate:
            raise IdentityRefused("two sign-ins at once; try again") from None
        return member
