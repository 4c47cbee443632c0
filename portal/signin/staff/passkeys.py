"""Passkeys of staff: bound through an invitation or by their owner, with user verification; device-bound only where the organisation
says so. The ceremonies are those of portal/signin/ceremony.py; the rows, handles and purposes are the staff's own.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from portal.clock import Source
from portal.db import orgs, outbox, passkeys, staff
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Organisation
from portal.db.passkeys import Ceremony
from portal.db.staff import Invite, Member, StaffPasskey, StaffSession
from portal.db.tx import WriteTx
from portal.model.errors import InputRefused, NotFound, PasskeyRefused, ProofNeeded
from portal.model.events import (
    Facts,
    StaffPasskeyAdded,
    StaffPasskeyRemoved,
    StaffProved,
    StaffSignedIn,
    StaffSignInFailed,
    Who,
)
from portal.model.ids import JobId, OrgId, PasskeyId, RecipientId, StaffId
from portal.model.links import keyed_hash, path_hash, return_token, token_hash
from portal.model.mails import MailKind
from portal.model.notice import STAFF_PASSKEY, ChangePayload
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client
from portal.signin.staff import facts_of, person, stranger
from portal.signin.staff.sessions import EMAILED_CODE, StaffSessions, Use

if TYPE_CHECKING:
    from portal.signin.ceremony import Asserted, Bound, Known, Site

PASSKEY = "passkey"
MOST = 20
_LIFE = timedelta(minutes=5)
_SIGN_IN, _PROVE, _ADD = "staff-sign-in", "staff-step-up", "staff-add"


class StaffPasskeys:
    """See the module. `handles_key` makes user handles, 32 bytes that say nothing of who somebody is.

    Whoever gets a new passkey is told so by mail; `wake` tells the worker of this process that it is queued. `provided` names the
    organisation with an identity provider: whom that has let in once it must let in each time, or who left there would stay here.
    """

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        sessions: StaffSessions,
        source: Source,
        wake: Callable[[], None],
        *,
        handles_key: bytes,
        rp_id: str,
        origins: tuple[str, ...],
        provided: str = "",
    ) -> None:
        self._db, self._sessions, self._source = db, sessions, source
        self._sealer, self._fields, self._wake = sealer, fields, wake
        self._key, self.rp_id, self._origins = handles_key, rp_id, origins
        self._provided = provided

    # -- signing in, and proving anew

    async def begin(self, browser: str, session: StaffSession | None) -> dict[str, Any]:
        """Options for signing in (anybody's passkey), or with a session for showing that it is her still."""
        from portal.signin import ceremony

        challenge = await self._challenge(_PROVE if session else _SIGN_IN, browser, session)
        allowed = [_known(one) for one in await self.of(session.staff_id)] if session else []
        return ceremony.request_options(self._site(""), challenge, allowed)

    async def sign_in(self, browser: str, posted: object, client: Client) -> str:
        """Begins a session; gives its cookie. Raises PasskeyRefused."""
        try:
            passkey, member, shown = await self._answered(browser, posted, None)
            if member.subject_hash and (await self._organisation(member.org_id)).slug == self._provided:
                raise PasskeyRefused("she comes by the identity provider")
        except PasskeyRefused as refused:
            await self._failed(stranger(client, self._source.now()), str(refused))
            raise
        return await self._sessions.start(member, PASSKEY, client, _use(passkey, shown))

    async def prove(self, browser: str, posted: object, session: StaffSession, client: Client) -> str:
        """The session goes on, fresh. Raises PasskeyRefused."""
        try:
            passkey, _, shown = await self._answered(browser, posted, session)
        except PasskeyRefused as refused:
            await self._failed(facts_of(session, client, self._source.now()), str(refused))
            raise
        return await self._sessions.prove(session, PASSKEY, client, _use(passkey, shown))

    async def _answered(
        self, browser: str, posted: object, session: StaffSession | None
    ) -> tuple[StaffPasskey, Member, "Asserted"]:
        from portal.signin import ceremony

        challenge = ceremony.challenge_of(posted)
        assert isinstance(posted, dict)
        await self._take(challenge, _PROVE if session else _SIGN_IN, browser, session.staff_id if session else None)
        async with self._db.read() as tx:
            passkey = await staff.passkey_by_credential(tx, ceremony.credential_of(posted))
            member = await staff.one(tx, passkey.org_id, passkey.staff_id) if passkey else None
        handle = self._handle(passkey.org_id, passkey.staff_id) if passkey else b""
        known = _known(passkey) if passkey else None
        shown = ceremony.asserted(self._site(""), posted, challenge, known, handle, by_name=session is not None)
        if passkey is None or member is None or member.disabled_at:
            raise PasskeyRefused("unknown")
        if session and session.staff_id != passkey.staff_id:
            raise PasskeyRefused("another person's")
        if (shown.sign_count or passkey.sign_count) and shown.sign_count <= passkey.sign_count:
            raise PasskeyRefused("its counter did not rise: it may have been copied")
        return passkey, member, shown

    # -- binding one

    async def begin_invited(self, invite: Invite, member: Member, token: str) -> dict[str, Any]:
        """Options for the passkey that an invitation binds."""
        return await self._begin_adding(member.org_id, member.id, token)

    async def add_invited(
        self, invite: Invite, member: Member, token: str, posted: object, name: str, client: Client
    ) -> str:
        """Binds it, uses the invitation up, and begins a session; gives its cookie. Raises PasskeyRefused."""
        now = self._source.now()
        facts = stranger(client, now) | {"who": Who.STAFF, "actor": member.id, "org_id": member.org_id}
        passkey = await self._bound(member.org_id, member.id, token, posted, name or client.agent, facts)
        cookie, session = self._sessions.begun(member, PASSKEY, client)
        facts["session"] = session.ref
        event = StaffPasskeyAdded(
            **facts, staff=member.id, passkey=passkey.id, backed_up=passkey.backed_up, invited=True
        )
        job = await self._told(member.org_id, member.id, Field(member.epoch_id, member.address_sealed))
        try:
            async with self._db.write(event) as tx:
                if not await staff.use_invite(tx, invite.token_hash):
                    raise NotFound("the invitation was used meanwhile")
                await staff.add_passkey(tx, passkey)
                await staff.start(tx, session)
                await outbox.enqueue(tx, job)
        except Duplicate:
            raise PasskeyRefused("here already") from None
        self._wake()
        return cookie

    async def begin_adding(self, session: StaffSession, client: Client) -> dict[str, Any]:
        """Options for one more of her own. Raises ProofNeeded, and InputRefused when she has enough."""
        await self._check(session, client)
        if len(await self.of(session.staff_id)) >= MOST:
            raise InputRefused(f"You have {MOST} passkeys. Remove one first.")
        return await self._begin_adding(session.org_id, session.staff_id, session.ref)

    async def add(self, session: StaffSession, posted: object, name: str, client: Client) -> None:
        """Raises ProofNeeded and PasskeyRefused."""
        await self._check(session, client)
        facts = facts_of(session, client, self._source.now())
        passkey = await self._bound(session.org_id, session.staff_id, session.ref, posted, name or client.agent, facts)
        event = StaffPasskeyAdded(
            **facts, staff=session.staff_id, passkey=passkey.id, backed_up=passkey.backed_up, invited=False
        )
        job = await self._told(session.org_id, session.staff_id, Field(session.epoch_id, session.address_sealed))
        try:
            async with self._db.write(event) as tx:
                await staff.add_passkey(tx, passkey)
                await outbox.enqueue(tx, job)
        except Duplicate:
            raise PasskeyRefused("here already") from None
        self._wake()

    async def remove(self, session: StaffSession, passkey_id: str, client: Client) -> None:
        """Removes one, with all other sessions. Raises ProofNeeded, NotFound, and InputRefused for the last one."""
        await self._check(session, client)
        found = next((one for one in await self.of(session.staff_id) if one.id == passkey_id), None)
        if found is None:
            raise NotFound("no passkey of this person")
        event = StaffPasskeyRemoved(**facts_of(session, client, self._source.now()), passkey=found.id)
        async with self._db.write(event) as tx:
            if not await staff.remove_passkey(tx, found):
                raise InputRefused("This is your only passkey. Add another one first.")
            await staff.end_all(tx, session.staff_id, keep=session.token_hash)

    async def of(self, staff_id: StaffId) -> list[StaffPasskey]:
        async with self._db.read() as tx:
            return await staff.passkeys_of(tx, staff_id)

    async def may_change(self, session: StaffSession, client: Client) -> bool:
        """Whether she signed in just now, as strongly as by what she has: an emailed code binds the first passkey, and no more."""
        if not person(session, client).is_fresh(self._source.now()):
            return False
        return session.method != EMAILED_CODE or not await self.of(session.staff_id)

    async def _check(self, session: StaffSession, client: Client) -> None:
        if not await self.may_change(session, client):
            raise ProofNeeded("changing passkeys")

    async def _begin_adding(self, org_id: OrgId, staff_id: StaffId, bound_to: str) -> dict[str, Any]:
        from portal.signin import ceremony

        organisation, have = await self._organisation(org_id), await self.of(staff_id)
        challenge = await self._keep(_ADD, bound_to, org_id, staff_id)
        shown = f"{organisation.name}, staff"
        known = [_known(one) for one in have]
        return ceremony.creation_options(
            self._site(shown), challenge, self._handle(org_id, staff_id), shown, shown, known
        )

    async def _bound(
        self, org_id: OrgId, staff_id: StaffId, bound_to: str, posted: object, name: str, facts: Facts
    ) -> StaffPasskey:
        from portal.signin import ceremony

        organisation = await self._organisation(org_id)
        try:
            challenge = ceremony.challenge_of(posted)
            assert isinstance(posted, dict)
            await self._take(challenge, _ADD, bound_to, staff_id)
            made: Bound = ceremony.bound(self._site(""), posted, challenge)
            if organisation.device_bound and made.backup_eligible:
                raise PasskeyRefused("the organisation takes passkeys that stay on one device only")
        except PasskeyRefused as refused:
            await self._failed(facts, f"adding: {refused}")
            raise
        label = " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())[:60]
        return StaffPasskey(
            id=PasskeyId(self._source.new_id()),
            org_id=org_id,
            staff_id=staff_id,
            credential_id=made.credential_id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            backup_eligible=made.backup_eligible,
            backed_up=made.backed_up,
            transports=made.transports,
            name=label or "Passkey",
            made_at=facts["at"],
        )

    # -- pieces

    async def _told(self, org_id: OrgId, staff_id: StaffId, own: Field) -> outbox.Job:
        """The mail that tells her of her new passkey, at the address by which she was invited or sends."""
        to = (await self._fields.open(org_id, staff_id, "staff", own)).decode()
        back, job_id = return_token(self._source.random(16)), JobId(self._source.new_id())
        payload = ChangePayload(STAFF_PASSKEY, to, "", back)
        field = await self._sealer.field(org_id, job_id, MailKind.CHANGED.value, payload.dump())
        return outbox.job_for(
            job_id,
            org_id,
            MailKind.CHANGED,
            None,
            self._source.now(),
            subject_id=staff_id,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
            return_hash=path_hash(back),
        )

    async def _organisation(self, org_id: OrgId) -> Organisation:
        async with self._db.read() as tx:
            found = await orgs.by_id(tx, org_id)
        assert found is not None
        return found

    async def _failed(self, facts: Facts, reason: str) -> None:
        await self._db.record(StaffSignInFailed(**facts, method=PASSKEY, reason=reason))

    async def _challenge(self, purpose: str, browser: str, session: StaffSession | None) -> bytes:
        return await self._keep(
            purpose, browser, session.org_id if session else None, session.staff_id if session else None
        )

    async def _keep(self, purpose: str, bound_to: str, org_id: OrgId | None, staff_id: StaffId | None) -> bytes:
        now, challenge = self._source.now(), self._source.random(32)
        whose = RecipientId(staff_id) if staff_id else None  # the column says whose; the purpose says of which kind
        async with self._db.bookkeeping() as tx:
            await passkeys.forget_old(tx, now, _LIFE)
            await passkeys.begin(tx, Ceremony(challenge, purpose, token_hash(bound_to), org_id, whose, now))
        return challenge

    async def _take(self, challenge: bytes, purpose: str, bound_to: str, staff_id: StaffId | None) -> None:
        async with self._db.bookkeeping() as tx:
            taken = await passkeys.take(tx, challenge, purpose, token_hash(bound_to))
        if taken is None or self._source.now() - taken.made_at > _LIFE:
            raise PasskeyRefused("the challenge is used, old, or another browser's")
        if str(taken.recipient_id) != str(staff_id):
            raise PasskeyRefused("the challenge is another person's")

    def _handle(self, org_id: OrgId, staff_id: StaffId) -> bytes:
        return keyed_hash(self._key, "staff handle", org_id, staff_id)

    def _site(self, name: str) -> "Site":
        from portal.signin.ceremony import Site

        return Site(self.rp_id, self._origins, name or self.rp_id)


def _known(passkey: StaffPasskey) -> "Known":
    from portal.signin.ceremony import Known

    return Known(passkey.credential_id, passkey.public_key, passkey.backup_eligible, passkey.transports)


def _use(passkey: StaffPasskey, shown: "Asserted") -> Use:
    async def use(tx: WriteTx[StaffSignedIn | StaffProved]) -> None:
        if not await staff.used_passkey(tx, passkey, shown.sign_count, backed_up=shown.backed_up):
            raise PasskeyRefused("removed meanwhile")

    return use
