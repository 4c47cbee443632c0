"""Sessions of staff: 256 random bits in a cookie, kept as a hash; new at each sign-in and each time somebody proves herself anew."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from portal.clock import Source
from portal.db import staff
from portal.db.engine import Database
from portal.db.staff import Member, StaffSession
from portal.db.tx import WriteTx
from portal.model.errors import SignInNeeded
from portal.model.events import StaffProved, StaffSessionsEnded, StaffSignedIn, StaffSignedOut, Who
from portal.model.links import TOKEN_BYTES, link_token, token_hash
from portal.model.staff import Role
from portal.signin import Client
from portal.signin.staff import facts_of, stranger

IDLE = timedelta(minutes=15)
LONGEST = timedelta(hours=8)
EMAILED_CODE = "emailed-code"
"""The method that proves a mailbox, and so opens a sender's role only."""
_SEEN_EVERY = timedelta(minutes=1)
Use: TypeAlias = Callable[[WriteTx[StaffSignedIn | StaffProved]], Awaitable[None]]
"""Uses up what was proved, in the transaction that acts on it. Raises what the caller answers for."""


class StaffSessions:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    def begun(self, member: Member, method: str, client: Client) -> tuple[str, StaffSession]:
        """A cookie and the session that it opens, not kept yet."""
        now, token = self._source.now(), link_token(self._source.random(TOKEN_BYTES))
        session = StaffSession(
            token_hash(token), member.org_id, member.id, method, client.agent, now, now, now, now + LONGEST, member.role
        )
        return token, session

    async def start(self, member: Member, method: str, client: Client, use: Use) -> str:
        """Uses up what was proved and begins a session; gives the cookie's value."""
        token, session = self.begun(member, method, client)
        facts = stranger(client, session.started_at)
        facts |= {"who": Who.STAFF, "actor": member.id, "org_id": member.org_id, "session": session.ref}
        async with self._db.write(StaffSignedIn(**facts, method=method)) as tx:
            await use(tx)
            await staff.start(tx, session)
        return token

    async def prove(self, before: StaffSession, method: str, client: Client, use: Use) -> str:
        """The session goes on, fresh, under a new cookie."""
        now, token = self._source.now(), link_token(self._source.random(TOKEN_BYTES))
        session = replace(
            before, token_hash=token_hash(token), method=method, proved_at=now, seen_at=now, agent=client.agent
        )
        event = StaffProved(**facts_of(session, client, now), method=method, before=before.ref)
        async with self._db.write(event) as tx:
            await use(tx)
            if not await staff.end(tx, before.token_hash):
                raise SignInNeeded("the session was ended meanwhile")
            await staff.start(tx, session)
        return token

    async def current(self, token: str | None) -> StaffSession:
        """The session of a cookie. Raises SignInNeeded when there is none, it is over, or its owner was shut out."""
        session = await staff.session(self._db, token_hash(token)) if token else None
        now = self._source.now()
        if session is None or now >= session.ends_at or now - session.seen_at >= IDLE:
            raise SignInNeeded("no session, or it is over")
        if session.method == EMAILED_CODE and session.role is not Role.SENDER:
            raise SignInNeeded("her role changed while she signed in")
        if now - session.seen_at >= _SEEN_EVERY:
            await self._db.note(staff.seen(session.token_hash, now))
        return session

    async def end(self, session: StaffSession, client: Client) -> None:
        async with self._db.write(StaffSignedOut(**facts_of(session, client, self._source.now()))) as tx:
            await staff.end(tx, session.token_hash)

    async def listed(self, session: StaffSession) -> list[StaffSession]:
        now = self._source.now()
        async with self._db.read() as tx:
            return await staff.open_sessions(tx, session.staff_id, now, now - IDLE)

    async def end_others(self, session: StaffSession, client: Client) -> int:
        """Ends all of her sessions but this one; says how many."""
        others = len(await self.listed(session)) - 1
        facts = facts_of(session, client, self._source.now())
        async with self._db.write(StaffSessionsEnded(**facts, staff=session.staff_id, count=others)) as tx:
            return await staff.end_all(tx, session.staff_id, keep=session.token_hash)
