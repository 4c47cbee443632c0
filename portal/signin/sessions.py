"""Sessions: they begin when a ceremony succeeds, carry what was proved, rise by further proof, and end by time, by log-out, by
their owner from another device, or by an admin's hand.

The cookie is 256 random bits, kept as a hash; a new one is made at each sign-in and step-up. A session of an emailed code
alone lasts an hour at most, others twelve from the first sign-in; fifteen idle minutes end either.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import passkeys, sessions, ways
from portal.db.engine import Database
from portal.db.sessions import Listed, Session
from portal.model.access import Reader
from portal.model.assurance import Assurance, Method, Proof, earned, written
from portal.model.errors import CodeRefused, NotFound, SignInNeeded
from portal.model.events import Facts, SessionEnded, SignedIn, SignedOut, SignInFailed, SteppedUp, Who
from portal.model.ids import DeliveryId, MemberId, PasskeyId
from portal.model.links import TOKEN_BYTES, link_token, token_hash
from portal.signin import Client, UseUp, Whose, own

IDLE = timedelta(minutes=15)
CODE_ONLY = timedelta(minutes=60)
LONGEST = timedelta(hours=12)
_SEEN_EVERY = timedelta(minutes=1)


def life(proofs: Collection[Proof]) -> timedelta:
    """How long a session of these proofs lasts in all."""
    return CODE_ONLY if {one.method for one in proofs} <= {Method.EMAILED_CODE} else LONGEST


class Sessions:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    async def start(
        self,
        whose: Whose,
        proof: Proof,
        client: Client,
        use: UseUp,
        *,
        passkey_id: PasskeyId | None = None,
        member_id: MemberId | None = None,
    ) -> str:
        """Uses up what was proved and begins a session; gives the cookie's value. Raises CodeRefused when `use` does."""
        now, token = self._source.now(), link_token(self._source.random(TOKEN_BYTES))
        session = Session(
            token_hash=token_hash(token),
            org_id=whose.org_id,
            recipient_id=whose.recipient_id,
            assurance=earned([proof]),
            method=proof.method.value,
            started_at=now,
            seen_at=now,
            ends_at=now + life([proof]),
            proofs=written([proof]),
            proved_at=now,
            passkey_id=passkey_id,
            member_id=member_id,
            agent=client.agent,
            place=client.place,
        )
        facts = self._facts(whose, now, client, session.ref)
        event = SignedIn(**facts, method=session.method, assurance=int(session.assurance), passkey=passkey_id)
        try:
            async with self._db.write(event) as tx:
                await use(tx)
                await sessions.start(tx, session)
        except CodeRefused:
            await self._too_late(whose, proof.method, client)
            raise
        return token

    async def step_up(
        self,
        before: Session,
        proof: Proof,
        client: Client,
        use: UseUp,
        *,
        passkey_id: PasskeyId | None = None,
        delivery_id: DeliveryId | None = None,
        end_others: bool = False,
    ) -> str:
        """Adds a proof: the session goes on under a new cookie, whose value this gives. Raises CodeRefused when `use` does.

        What was bound at the mailbox's level and is used beside a second channel is vouched for from now on.
        """
        now, token = self._source.now(), link_token(self._source.random(TOKEN_BYTES))
        proofs = {one for one in before.proven if one.method != proof.method} | {proof}
        lifted = {replace(one, vouched=Assurance.TWO_CHANNELS) for one in proofs if _to_vouch(one)}
        vouches = bool(lifted) and earned(proofs) >= Assurance.TWO_CHANNELS
        if vouches:
            proofs = {one for one in proofs if not _to_vouch(one)} | lifted
        session = replace(
            before,
            token_hash=token_hash(token),
            assurance=earned(proofs),
            method=proof.method.value,
            proofs=written(proofs),
            proved_at=now,
            seen_at=now,
            ends_at=before.started_at + life(proofs),
            passkey_id=passkey_id or before.passkey_id,
            agent=client.agent,
            place=client.place,
        )
        event = SteppedUp(
            **own(session, client, now, delivery_id),
            method=proof.method.value,
            assurance=int(session.assurance),
            before=before.ref,
            vouched=vouches,
            passkey=passkey_id,
        )
        async with self._db.write(event) as tx:
            await use(tx)
            if not await sessions.end(tx, before.token_hash, now):
                raise SignInNeeded("the session was ended meanwhile")
            await sessions.start(tx, session)
            if vouches and session.passkey_id:
                await passkeys.vouch(tx, session.passkey_id)
            if vouches and any(one.method is Method.APP for one in lifted):
                await ways.vouch_app(tx, session.recipient_id)
            if end_others:
                await sessions.end_all(tx, session.recipient_id, keep=session.token_hash)
        return token

    async def current(self, token: str | None) -> Session:
        """The session of a cookie. Raises SignInNeeded when there is none or it is over."""
        session = await sessions.by_token(self._db, token_hash(token)) if token else None
        now = self._source.now()
        if session is None or now >= session.ends_at or now - session.seen_at >= IDLE:
            raise SignInNeeded("no session, or it is over")
        if now - session.seen_at >= _SEEN_EVERY:
            await self._db.note(sessions.seen(session.token_hash, now))
        return session

    async def stay(self, session: Session) -> datetime:
        """Puts the end of idleness off; gives when the session ends if nothing more is done."""
        now = self._source.now()
        await self._db.note(sessions.seen(session.token_hash, now))
        return min(now + IDLE, session.ends_at)

    async def last(self, token: str | None) -> Whose | None:
        """Whose session a cookie was, also when it is over: for asking that very person to sign in again. Opens nothing."""
        found = await sessions.owner_of_last(self._db, token_hash(token)) if token else None
        if found is None or self._source.now() - found[2] > LONGEST:
            return None
        return Whose(found[0], found[1])

    # -- ending

    async def end(self, session: Session, client: Client) -> None:
        now = self._source.now()
        async with self._db.write(SignedOut(**own(session, client, now))) as tx:
            await sessions.end(tx, session.token_hash, now)

    async def listed(self, session: Session) -> list[Listed]:
        """The person's open sessions, this one among them."""
        now = self._source.now()
        async with self._db.read() as tx:
            return await sessions.open_of(tx, session.recipient_id, now, now - IDLE)

    async def end_other(self, session: Session, ref: str, client: Client) -> None:
        """Ends one of the person's own sessions. Raises NotFound for any other."""
        mine = {one.ref for one in await self.listed(session)}
        if ref not in mine:
            raise NotFound("no session of this person")
        now = self._source.now()
        event = SessionEnded(**own(session, client, now), ended=(ref,), why="owner")
        async with self._db.write(event) as tx:
            await sessions.end(tx, bytes.fromhex(ref), now)

    async def end_others(self, session: Session, client: Client) -> int:
        """Ends all of the person's sessions but this one; says how many."""
        others = tuple(one.ref for one in await self.listed(session) if one.ref != session.ref)
        event = SessionEnded(**own(session, client, self._source.now()), ended=others, why="owner")
        async with self._db.write(event) as tx:
            return await sessions.end_all(tx, session.recipient_id, keep=session.token_hash)

    async def _too_late(self, whose: Whose, method: Method, client: Client) -> None:
        facts = self._facts(whose, self._source.now(), client, None)
        await self._db.record(
            SignInFailed(**facts | {"who": Who.STRANGER, "actor": ""}, method=method.value, reason="used already")
        )

    @staticmethod
    def _facts(whose: Whose, at: datetime, client: Client, session: str | None) -> Facts:
        return Facts(
            at=at,
            who=Who.RECIPIENT,
            actor=whose.recipient_id,
            org_id=whose.org_id,
            message_id=whose.message_id,
            delivery_id=whose.delivery_id,
            session=session,
            origin=client.origin,
        )


def _to_vouch(one: Proof) -> bool:
    return one.method in (Method.PASSKEY, Method.APP) and one.vouched < Assurance.TWO_CHANNELS


def reader(session: Session, origin: str) -> Reader:
    """Who asks, as the access decision wants to know it."""
    return Reader(session.recipient_id, session.org_id, session.assurance, session.ref, origin)
