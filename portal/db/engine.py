"""Opening transactions: `Database.read()`, `.write(event)`, `.bookkeeping()`, and the hot path's `.row()` and `.commit()`.

There is no plain `begin()`: a change is made in the transaction of an event, which is on record before the change is.
Commits of the hot path are gathered: while one is being synced, all that come meanwhile wait and share the next. No timer,
so nothing waits when it is alone.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import insert, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from portal.clock import Source
from portal.db import audit
from portal.db.backend import Backend, Duplicate, Outcome, Prepared, Stale
from portal.db.hot import Hot, Statement
from portal.db.tables import audit_events
from portal.db.tx import BookkeepingTx, Change, ReadTx, WriteTx
from portal.model.errors import RefusesToStart, StorageAway, StorageFull
from portal.model.events import Event

__all__ = ["Database", "Duplicate", "Stale", "sqlite_path"]

E = TypeVar("E", bound=Event)
_BATCH = 256
_RECORD = insert(audit_events)


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL; None for PostgreSQL. Raises RefusesToStart for any other URL."""
    try:
        parsed = make_url(url)
    except ArgumentError:  # its text has the URL, and that the password
        raise RefusesToStart(
            "PORTAL_DATABASE_URL is no URL; write sqlite:////path/portal.db or postgresql://..."
        ) from None
    if parsed.get_backend_name() == "postgresql":
        return None
    if parsed.get_backend_name() != "sqlite":
        raise RefusesToStart(f"PORTAL_DATABASE_URL: {parsed.get_backend_name()} is not an engine the portal knows")
    if not parsed.database:
        raise RefusesToStart("PORTAL_DATABASE_URL names no file; write sqlite:////var/lib/portal/portal.db")
    return Path(parsed.database)


def _backend(url: str) -> Backend:
    path = sqlite_path(url)
    if path is not None:
        from portal.db.sqlite import SqliteBackend

        return SqliteBackend(path)
    from portal.db.postgres import PostgresBackend

    return PostgresBackend(make_url(url).set(drivername="postgresql+asyncpg"))


@contextmanager
def translating() -> Iterator[None]:
    """Turns what the drivers raise into the portal's errors."""
    try:
        yield
    except DBAPIError as error:
        message = str(error.orig)
        if "UNIQUE" in message.upper():
            raise Duplicate(message) from error
        if "full" in message or "DiskFull" in message:
            raise StorageFull("the disk of the database is full") from error
        raise StorageAway(f"the database did not answer: {message}") from error
    except (SQLAlchemyError, OSError) as error:
        raise StorageAway(f"the database did not answer: {error}") from error


class Database:
    """The rows, on either engine. Must be made inside a running event loop; `close` it in the same."""

    def __init__(self, url: str, source: Source) -> None:
        self._backend = _backend(url)
        self._source = source
        self._queue: list[tuple[Sequence[Prepared], asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadTx]:
        with translating():
            async with self._backend.reading() as connection:
                yield ReadTx(connection)

    @asynccontextmanager
    async def write(self, event: E, *also: E) -> AsyncIterator[WriteTx[E]]:
        """A transaction with its event (or events of the same kind) already in it."""
        with translating():
            async with self._backend.writing() as connection:
                rows = [audit.values(one, self._source.new_id()) for one in (event, *also)]
                await connection.execute(
                    _RECORD, [{**row, "at": one.at} for row, one in zip(rows, (event, *also), strict=True)]
                )
                yield WriteTx(connection, event)

    @asynccontextmanager
    async def bookkeeping(self) -> AsyncIterator[BookkeepingTx]:
        with translating():
            async with self._backend.writing() as connection:
                yield BookkeepingTx(connection)

    # -- the hot path

    async def rows(self, hot: Hot, **values: Any) -> list[tuple[Any, ...]]:
        return await self._backend.fetch(*hot.compiled(self._backend.dialect, values))

    async def row(self, hot: Hot, **values: Any) -> tuple[Any, ...] | None:
        found = await self.rows(hot, **values)
        return found[0] if found else None

    async def commit(self, change: Change[Event]) -> None:
        """Makes a change durable, its event first. Raises Duplicate or Stale when it was left out."""
        record = Statement(audit.RECORD, audit.values(change.event, self._source.new_id()))
        await self._submit((record, *change.statements))

    async def record(self, event: Event) -> None:
        """Puts an event on record that changes nothing else: a view, a denial, a failure."""
        await self.commit(Change(event))

    async def note(self, *statements: Statement) -> None:
        """Bookkeeping on the hot path: nobody need answer for it."""
        await self._submit(statements)

    async def _submit(self, statements: Sequence[Statement]) -> None:
        prepared = []
        for statement in statements:
            sql, values = statement.hot.compiled(self._backend.dialect, statement.values)
            prepared.append(Prepared(sql, values, statement.hot.returns_rows, statement.must_hit))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((prepared, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        try:
            while self._queue:
                batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
                try:
                    outcomes: Sequence[Outcome | Exception] = await self._backend.apply([change for change, _ in batch])
                except Exception as error:  # every caller of the batch gets it: none of it was kept
                    outcomes = [error] * len(batch)
                for (_, done), outcome in zip(batch, outcomes, strict=True):
                    if done.cancelled():
                        continue
                    if outcome is None:
                        done.set_result(None)
                    else:
                        done.set_exception(outcome)
        finally:
            self._flushing = None

    async def revision(self) -> str | None:
        """The migration the schema stands at; None when there is none yet."""
        try:
            async with self._backend.reading() as connection:
                return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
        except DBAPIError:
            return None

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        await self._backend.close()
