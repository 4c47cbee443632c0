"""Passkeys: added once somebody is signed in, one touch from then on; named, renamed and removed by their owner.

A challenge is 32 random bytes in a row, used once, within five minutes, by the browser and for the purpose and person it was
made for. Adding, renaming and removing want a fresh sign-in as strong as the strongest enrolled; the last one can't be removed,
and removing one ends the sessions it began. A counter that does not rise is a signal: on record, told, and stepped up.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from portal.clock import Source
from portal.db import orgs, outbox, passkeys, sessions
from portal.db.engine import Database, Duplicate
from portal.db.passkeys import Ceremony, Passkey
from portal.db.sessions import Session
from portal.db.tx import WriteTx
from portal.model.assurance import Assurance, Method, Proof
from portal.model.errors import CodeRefused, NotFound, PasskeyRefused, WayRefused
from portal.model.events import (
    PasskeyAdded,
    PasskeyRemoved,
    PasskeyRenamed,
    PasskeySuspected,
    SignedIn,
    SignInFailed,
    SteppedUp,
    Who,
)
from portal.model.ids import OrgId, PasskeyId, RecipientId
from portal.model.links import keyed_hash, token_hash
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer
from portal.signin import Client, UseUp, Whose, own
from portal.signin.enrolled import check_may_change
from portal.signin.sessions import Sessions
from portal.signin.tell import Tell

if TYPE_CHECKING:
    from portal.signin.ceremony import Asserted, Known, Site

CEREMONY_LIFE = timedelta(minutes=5)
MOST = 20
"""Passkeys a person may have."""
_MOST_NAME = 60
_SIGN_IN, _STEP_UP, _ADD = "sign-in", "step-up", "add"


@dataclass(frozen=True)
class Card:
    """A passkey as its owner sees it."""

    id: PasskeyId
    name: str
    made_at: datetime
    used_at: datetime | None
    synced: bool
    suspect: bool
    vouched: bool


@dataclass(frozen=True)
class Signals:
    """What the browser's signal API is told: the account's handle, all its credentials, its name. Base64url."""

    rp_id: str
    handle: str
    credentials: tuple[str, ...]
    user: str


class Passkeys:
    """See the module. `handles_key` makes a person's user handle, 32 bytes that say nothing of her."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        fields: Fields,
        sessions: Sessions,
        tell: Tell,
        source: Source,
        *,
        handles_key: bytes,
        rp_id: str,
        origins: tuple[str, ...],
    ) -> None:
        self._db, self._sealer, self._fields = db, sealer, fields
        self._sessions, self._tell, self._source = sessions, tell, source
        self._key, self.rp_id, self._origins = handles_key, rp_id, origins

    # -- signing in

    async def begin(self, browser: str, session: Session | None) -> dict[str, Any]:
        """Options for signing in (anybody's passkey), or with a session for proving more (its person's own)."""
        from portal.signin import ceremony

        purpose = _STEP_UP if session else _SIGN_IN
        challenge = await self._challenge(purpose, browser, session)
        allowed = await self._known(session.recipient_id) if session else []
        return ceremony.request_options(await self._site(""), challenge, allowed)

    async def sign_in(self, browser: str, posted: object, client: Client) -> str:
        """Begins a session; gives its cookie. Raises PasskeyRefused."""
        try:
            passkey, shown = await self._answered(browser, posted, None)
        except PasskeyRefused as refused:
            event = SignInFailed(
                at=self._source.now(),
                who=Who.STRANGER,
                origin=client.origin,
                method=Method.PASSKEY.value,
                reason=str(refused),
            )
            await self._db.record(event)
            raise
        proof = await self._judged(passkey, shown, client)
        whose = Whose(passkey.org_id, passkey.recipient_id)
        try:
            return await self._sessions.start(
                whose, proof, client, _use(passkey, shown), passkey_id=passkey.id, member_id=passkey.member_id
            )
        except CodeRefused:
            raise PasskeyRefused("removed meanwhile") from None

    async def step_up(self, browser: str, posted: object, session: Session, client: Client) -> str:
        """Raises the session by its own person's passkey; gives the new cookie. Raises PasskeyRefused."""
        try:
            passkey, shown = await self._answered(browser, posted, session)
        except PasskeyRefused as refused:
            facts = own(session, client, self._source.now())
            await self._db.record(SignInFailed(**facts, method=Method.PASSKEY.value, reason=str(refused)))
            raise
        proof = await self._judged(passkey, shown, client)
        try:
            return await self._sessions.step_up(session, proof, client, _use(passkey, shown), passkey_id=passkey.id)
        except CodeRefused:
            raise PasskeyRefused("removed meanwhile") from None

    async def _answered(self, browser: str, posted: object, session: Session | None) -> tuple[Passkey, "Asserted"]:
        from portal.signin import ceremony

        challenge = ceremony.challenge_of(posted)
        assert isinstance(posted, dict)
        await self._take(challenge, _STEP_UP if session else _SIGN_IN, browser, session)
        async with self._db.read() as tx:
            passkey = await passkeys.by_credential(tx, ceremony.credential_of(posted))
        handle = self.handle(passkey.org_id, passkey.recipient_id) if passkey else b""
        known = _known(passkey) if passkey else None
        site = await self._site("")
        shown = ceremony.asserted(site, posted, challenge, known, handle, by_name=session is not None)
        assert passkey is not None
        if session and session.recipient_id != passkey.recipient_id:
            raise PasskeyRefused("another person's")
        return passkey, shown

    async def _judged(self, passkey: Passkey, shown: "Asserted", client: Client) -> Proof:
        """The proof it makes. A counter that does not rise costs it its level, until it is used beside a second channel."""
        if not (shown.sign_count or passkey.sign_count) or shown.sign_count > passkey.sign_count:
            return Proof(Method.PASSKEY, passkey.vouched)
        event = PasskeySuspected(
            at=self._source.now(),
            who=Who.RECIPIENT,
            actor=passkey.recipient_id,
            org_id=passkey.org_id,
            origin=client.origin,
            passkey=passkey.id,
            counter=shown.sign_count,
            known=passkey.sign_count,
        )
        jobs = await self._tell.jobs(passkey.org_id, passkey.recipient_id, "passkey-suspect", "")
        async with self._db.write(event) as tx:
            await passkeys.suspect(tx, passkey.id)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()
        return Proof(Method.PASSKEY, Assurance.MAILBOX)

    # -- keeping them

    async def begin_adding(self, session: Session) -> dict[str, Any]:
        """Options for adding one. Raises ProofNeeded, and WayRefused when there are too many."""
        from portal.signin import ceremony

        have = await self._may_change(session)
        if len(have) >= MOST:
            raise WayRefused("many", f"A person can have {MOST} passkeys. Remove one first.")
        user = (await self._tell.addresses(session.org_id, session.recipient_id))[0]
        challenge = await self._challenge(_ADD, session.ref, session)
        handle = self.handle(session.org_id, session.recipient_id)
        return ceremony.creation_options(
            await self._site(session.org_name), challenge, handle, user, session.org_name, [_known(one) for one in have]
        )

    async def add(self, session: Session, posted: object, name: str, client: Client, language: str) -> str:
        """Binds a passkey; the session goes on with it proved, under the cookie this gives.

        Raises PasskeyRefused, ProofNeeded, and WayRefused when it is bound already.
        """
        from portal.signin import ceremony

        await self._may_change(session)
        try:
            challenge = ceremony.challenge_of(posted)
            assert isinstance(posted, dict)
            await self._take(challenge, _ADD, session.ref, session)
            made = ceremony.bound(await self._site(session.org_name), posted, challenge)
        except PasskeyRefused as refused:
            facts = own(session, client, self._source.now())
            await self._db.record(SignInFailed(**facts, method=Method.PASSKEY.value, reason=f"adding: {refused}"))
            raise
        now, passkey_id = self._source.now(), PasskeyId(self._source.new_id())
        label = await self._sealer.field(
            session.org_id, passkey_id, "passkey", (_name(name) or client.agent or "Passkey").encode()
        )
        vouched = min(session.assurance, Assurance.TWO_CHANNELS)
        passkey = Passkey(
            id=passkey_id,
            org_id=session.org_id,
            recipient_id=session.recipient_id,
            member_id=session.member_id,
            credential_id=made.credential_id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            backup_eligible=made.backup_eligible,
            backed_up=made.backed_up,
            transports=made.transports,
            name_sealed=label.sealed,
            epoch_id=label.epoch_id,
            vouched=vouched,
            made_at=now,
        )
        event = PasskeyAdded(
            **own(session, client, now), passkey=passkey_id, vouched=int(vouched), backed_up=made.backed_up
        )
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "passkey-added", language)
        try:
            async with self._db.write(event) as tx:
                await passkeys.add(tx, passkey)
                await outbox.enqueue(tx, *jobs)
        except Duplicate:
            raise WayRefused("here", "This passkey is here already.") from None
        self._tell.wake()
        began_with = session.passkey_id or passkey_id  # whose removal ends this session
        proof = Proof(Method.PASSKEY, vouched)
        return await self._sessions.step_up(session, proof, client, _nothing, passkey_id=began_with)

    async def cards(self, session: Session) -> list[Card]:
        async with self._db.read() as tx:
            mine = await passkeys.of(tx, session.recipient_id)
        return [await self._card(one) for one in mine]

    async def _card(self, one: Passkey) -> Card:
        name = await self._fields.open(one.org_id, one.id, "passkey", Field(one.epoch_id, one.name_sealed))
        vouched = one.vouched >= Assurance.TWO_CHANNELS
        return Card(one.id, name.decode(), one.made_at, one.used_at, one.backed_up, bool(one.suspect_at), vouched)

    async def rename(self, session: Session, passkey_id: str, name: str, client: Client) -> None:
        """Raises NotFound, WayRefused, ProofNeeded."""
        passkey = await self._own(session, passkey_id)
        wanted = _name(name)
        if not wanted:
            raise WayRefused("name", "Give the passkey a name.", "name")
        label = await self._sealer.field(session.org_id, passkey.id, "passkey", wanted.encode())
        event = PasskeyRenamed(**own(session, client, self._source.now()), passkey=passkey.id)
        async with self._db.write(event) as tx:
            await passkeys.rename(tx, passkey, label.epoch_id, label.sealed)

    async def remove(self, session: Session, passkey_id: str, client: Client, language: str) -> None:
        """Raises NotFound, ProofNeeded, and WayRefused for the last one."""
        passkey = await self._own(session, passkey_id)
        jobs = await self._tell.jobs(session.org_id, session.recipient_id, "passkey-removed", language)
        event = PasskeyRemoved(**own(session, client, self._source.now()), passkey=passkey.id)
        async with self._db.write(event) as tx:
            if not await passkeys.remove(tx, passkey):
                raise WayRefused("last", "This is your only passkey. Add another one first.")
            keep = session.token_hash if session.passkey_id != passkey.id else None
            await sessions.end_of_passkey(tx, passkey.id, keep)
            await outbox.enqueue(tx, *jobs)
        self._tell.wake()

    async def signals(self, session: Session) -> Signals:
        """The complete list: an incomplete one would make the browser delete passkeys."""
        from webauthn.helpers import bytes_to_base64url

        async with self._db.read() as tx:
            mine = await passkeys.of(tx, session.recipient_id)
        user = (await self._tell.addresses(session.org_id, session.recipient_id))[0]
        handle = bytes_to_base64url(self.handle(session.org_id, session.recipient_id))
        return Signals(self.rp_id, handle, tuple(bytes_to_base64url(one.credential_id) for one in mine), user)

    def handle(self, org_id: OrgId, recipient_id: RecipientId) -> bytes:
        """The person's user handle: 32 bytes, the same for ever, without a word of who she is (WebAuthn 14.6.1)."""
        return keyed_hash(self._key, "user handle", org_id, recipient_id)

    async def to_offer(self, session: Session) -> bool:
        """Whether a passkey is something new for this person."""
        return session.passkey_id is None and not await passkeys.has(self._db, session.recipient_id)

    # -- pieces

    async def _own(self, session: Session, passkey_id: str) -> Passkey:
        mine = await self._may_change(session)
        found = next((one for one in mine if one.id == passkey_id), None)
        if found is None:
            raise NotFound("no passkey of this person")
        return found

    async def _may_change(self, session: Session) -> list[Passkey]:
        """The person's passkeys, for a session that may change them. Raises ProofNeeded."""
        await check_may_change(self._db, session, self._source.now())
        async with self._db.read() as tx:
            return await passkeys.of(tx, session.recipient_id)

    async def _known(self, recipient_id: RecipientId) -> "list[Known]":
        async with self._db.read() as tx:
            return [_known(one) for one in await passkeys.of(tx, recipient_id)]

    async def _challenge(self, purpose: str, bound_to: str, session: Session | None) -> bytes:
        now, challenge = self._source.now(), self._source.random(32)
        made = Ceremony(
            challenge,
            purpose,
            token_hash(bound_to),
            session.org_id if session else None,
            session.recipient_id if session else None,
            now,
        )
        async with self._db.bookkeeping() as tx:
            await passkeys.forget_old(tx, now, CEREMONY_LIFE)
            await passkeys.begin(tx, made)
        return challenge

    async def _take(self, challenge: bytes, purpose: str, bound_to: str, session: Session | None) -> None:
        async with self._db.bookkeeping() as tx:
            taken = await passkeys.take(tx, challenge, purpose, token_hash(bound_to))
        if taken is None or self._source.now() - taken.made_at > CEREMONY_LIFE:
            raise PasskeyRefused("the challenge is used, old, or another browser's")
        if session and taken.recipient_id != session.recipient_id:
            raise PasskeyRefused("the challenge is another person's")

    async def origins(self) -> tuple[str, ...]:
        """Where these passkeys work: the portal's own origins, and the host names that organisations have."""
        return (*self._origins, *(f"https://{host}" for host in await orgs.hosts(self._db)))

    async def _site(self, name: str) -> "Site":
        from portal.signin.ceremony import Site

        return Site(self.rp_id, await self.origins(), name or self.rp_id)


def _known(passkey: Passkey) -> "Known":
    from portal.signin.ceremony import Known

    return Known(passkey.credential_id, passkey.public_key, passkey.backup_eligible, passkey.transports)


def _use(passkey: Passkey, shown: "Asserted") -> UseUp:
    async def use(tx: WriteTx[SignedIn | SteppedUp]) -> None:
        if not await passkeys.used(tx, passkey, max(shown.sign_count, passkey.sign_count), backed_up=shown.backed_up):
            raise CodeRefused("the passkey was removed meanwhile")

    return use


async def _nothing(tx: WriteTx[SignedIn | SteppedUp]) -> None:
    """Nothing is to be used up: the registration itself proved it."""


def _name(text: str) -> str:
    """A name as its owner wrote it, on one line."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:_MOST_NAME]
