"""Sessions: they begin when a ceremony succeeds, carry what it proved, and end by time, by log-out, or by an admin's hand.

The cookie is 256 random bits, kept as a hash; a new one is made at each sign-in. A session of an emailed code lasts an
hour at most, others twelve; fifteen idle minutes end either.
"""

from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import links, sessions
from portal.db.engine import Database
from portal.db.links import Code, Named
from portal.db.sessions import Session
from portal.model.access import Reader
from portal.model.assurance import Assurance
from portal.model.errors import CodeRefused, SignInNeeded
from portal.model.events import SignedIn, SignedOut, SignInFailed, Who
from portal.model.links import TOKEN_BYTES, link_token, token_hash
from portal.signin.codes import METHOD
from portal.signin.links import Door

IDLE = timedelta(minutes=15)
_LIFE = {METHOD: timedelta(minutes=60)}
_LONGEST = timedelta(hours=12)
_SEEN_EVERY = timedelta(minutes=1)


class Sessions:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    async def start(self, door: Door, code: Code, origin: str) -> str:
        """Uses the code up and begins a session; gives the cookie's value. Raises CodeRefused when another was faster."""
        if door.named is None:
            raise CodeRefused("a door that never opens")
        now, named = self._source.now(), door.named
        token = link_token(self._source.random(TOKEN_BYTES))
        hashed = token_hash(token)
        session = Session(
            token_hash=hashed,
            org_id=named.org_id,
            recipient_id=named.recipient_id,
            assurance=Assurance.MAILBOX,
            method=METHOD,
            started_at=now,
            seen_at=now,
            ends_at=now + _LIFE.get(METHOD, _LONGEST),
            org_name="",
            org_address="",
            org_phone="",
        )
        event = SignedIn(
            at=now,
            who=Who.RECIPIENT,
            actor=named.recipient_id,
            org_id=named.org_id,
            message_id=named.message_id,
            delivery_id=named.delivery_id,
            session=hashed.hex(),
            origin=origin,
            method=METHOD,
            assurance=int(Assurance.MAILBOX),
        )
        try:
            async with self._db.write(event) as tx:
                await links.forget_tries(tx, named.delivery_id)  # the delivery before the code, as tries lock them
                if not await links.use(tx, code):
                    raise CodeRefused("the code was used already")
                await sessions.start(tx, session)
        except CodeRefused:
            await self._too_late(door.named, now, origin)
            raise
        return token

    async def _too_late(self, named: Named, now: datetime, origin: str) -> None:
        event = SignInFailed(
            at=now,
            who=Who.STRANGER,
            org_id=named.org_id,
            message_id=named.message_id,
            delivery_id=named.delivery_id,
            origin=origin,
            method=METHOD,
            reason="used already",
        )
        await self._db.record(event)

    async def current(self, token: str | None) -> Session:
        """The session of a cookie. Raises SignInNeeded when there is none or it is over."""
        session = await sessions.by_token(self._db, token_hash(token)) if token else None
        now = self._source.now()
        if session is None or now >= session.ends_at or now - session.seen_at >= IDLE:
            raise SignInNeeded("no session, or it is over")
        if now - session.seen_at >= _SEEN_EVERY:
            await self._db.note(sessions.seen(session.token_hash, now))
        return session

    async def end(self, session: Session, origin: str) -> None:
        now = self._source.now()
        event = SignedOut(
            at=now,
            who=Who.RECIPIENT,
            actor=session.recipient_id,
            org_id=session.org_id,
            session=session.token_hash.hex(),
            origin=origin,
        )
        async with self._db.write(event) as tx:
            await sessions.end(tx, session.token_hash, now)


def reader(session: Session, origin: str) -> Reader:
    """Who asks, as the access decision wants to know it."""
    return Reader(session.recipient_id, session.org_id, session.assurance, session.token_hash.hex(), origin)
