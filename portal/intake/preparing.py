"""Prepares accepted messages for reading while their plaintext is still in hand, beside the intake and never in its way.

What is not prepared (too large, too many at once, a stop) is prepared for its first view instead.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog

from portal.clock import Source
from portal.db.engine import Database
from portal.mime import Renderer
from portal.model.errors import PortalError
from portal.sealing.prepare import prepare
from portal.sealing.seal import Container

_WAITING = 32


class Preparing:
    """At most 32 messages of 1 MiB wait; one that would be the next is left for its first view."""

    def __init__(self, db: Database, renderer: Renderer, source: Source) -> None:
        self._db, self._renderer, self._source = db, renderer, source
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("intake")

    def later(self, container: Container, pieces: Sequence[bytes]) -> None:
        if len(self._tasks) < _WAITING:
            task = asyncio.create_task(self._prepare(container, pieces))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _prepare(self, container: Container, pieces: Sequence[bytes]) -> None:
        try:
            await prepare(self._db, self._renderer, container, _stream(pieces), self._source.now(), again=True)
        except PortalError as error:
            self._log.warning("not prepared", message_id=container.id, error=type(error).__name__)

    async def drain(self, seconds: float) -> None:
        """Waits for what is under way, then lets go of it."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


async def _stream(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
