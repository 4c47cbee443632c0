"""A door that names nobody: it never opens, and is throttled and answered as a real one is.

So whoever types a reference can't learn from limits, waits or the letters of a code whether it exists. Counters are rows of the
throttle table, under keyed hashes; nothing here can be told from a mistyped reference.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from portal.clock import Source
from portal.db import limits
from portal.db.engine import Database
from portal.model.codes import CODE_LIFE, SENDS_A_DAY, TRIES_IN_ALL, Tries, one_more, wait_to_send, wait_to_try
from portal.model.errors import TooManyTries
from portal.model.links import code_reference, keyed_hash

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Nobody:
    """See the module. `door` is the key of a door, `browser` the pre-sign-in cookie."""

    def __init__(self, db: Database, source: Source, key: bytes) -> None:
        self._db, self._source, self._key = db, source, key
        self._turn = asyncio.Lock()
        """One at a time: parallel tries count one by one, as they do on a real door."""

    async def wait(self, door: str) -> timedelta:
        """How long until another code may be sent."""
        return wait_to_send(sorted((await self._sends(door)).values()), self._source.now())

    async def send(self, door: str, browser: str) -> None:
        """Sends nothing. Raises TooManyTries as often as a real door would."""
        now = self._source.now()
        async with self._turn:
            sends = await self._sends(door)
            wait = wait_to_send(sorted(sends.values()), now)
            if wait:
                if not await self._share(door, browser, sends, now):
                    raise TooManyTries("enough codes were sent to nobody", wait)
                return
            oldest = min(range(SENDS_A_DAY), key=lambda slot: sends.get(slot, _NEVER))
            await limits.keep(self._db, self._hash("send", door, str(oldest)), now)
            await limits.keep(self._db, self._hash("sent", door, browser), now)

    async def _share(self, door: str, browser: str, sends: dict[int, datetime], now: datetime) -> bool:
        """As a real door lets the newest code count for a browser that has none (portal/signin/codes.py)."""
        newest = max(sends.values(), default=_NEVER)
        own = await limits.look(self._db, self._hash("sent", door, browser))
        if now - newest >= CODE_LIFE or (own is not None and now - own[1] < CODE_LIFE):
            return False
        await limits.keep(self._db, self._hash("sent", door, browser), newest)
        return True

    async def check(self, door: str) -> None:
        """Counts a try, which fails. Raises TooManyTries once a real door would be closed."""
        now = self._source.now()
        async with self._turn:
            tries = await self._tries(door, now)
            wait = wait_to_try(tries, now)
            if wait == timedelta(0):
                await self._keep(door, one_more(tries, now), now)
        if wait != timedelta(0):
            raise TooManyTries("too many codes were tried on nobody", wait)

    async def reference(self, door: str, browser: str) -> str | None:
        """The letters of the code that this browser asked for; None when it asked for none."""
        row = await limits.look(self._db, self._hash("sent", door, browser))
        return row and code_reference(self._hash("letters", door, browser, row[1].isoformat())[:8])

    async def _sends(self, door: str) -> dict[int, datetime]:
        rows = {slot: await limits.look(self._db, self._hash("send", door, str(slot))) for slot in range(SENDS_A_DAY)}
        return {slot: row[1] for slot, row in rows.items() if row}

    async def _tries(self, door: str, now: datetime) -> Tries:
        in_all, window, closed = [await limits.look(self._db, self._hash(kind, door)) for kind in _COUNTERS]
        if in_all is None or window is None:
            return Tries(0, 0, now)
        disabled_at = in_all[1] if in_all[0] >= TRIES_IN_ALL else None
        return Tries(in_all[0], *window, closed[1] if closed else None, disabled_at)

    async def _keep(self, door: str, tries: Tries, now: datetime) -> None:
        await limits.keep(self._db, self._hash("in all", door), now, tries.in_all)
        await limits.keep(self._db, self._hash("window", door), tries.window_from, tries.in_window)
        if tries.closed_until:
            await limits.keep(self._db, self._hash("closed", door), tries.closed_until)

    def _hash(self, *fields: str) -> bytes:
        return keyed_hash(self._key, "nobody", *fields)


_COUNTERS = ("in all", "window", "closed")
