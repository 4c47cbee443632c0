"""The embedded engine: SQLite in WAL mode, every commit synced, one writer at a time.

Hot reads run on a connection of the event loop's own (a keyed look-up costs 10 us, a hop to a thread 60); hot writes are
committed together in one thread; all else goes through SQLAlchemy on aiosqlite. Readers can't write (`query_only`).
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from portal.db.backend import Duplicate, Outcome, Prepared, Stale
from portal.db.lock import WriteLock
from portal.model.errors import PortalError, RefusesToStart, StorageAway, StorageFull

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000", "temp_store=MEMORY")


def translated(error: sqlite3.Error) -> PortalError:
    """What an SQLite error means to the portal."""
    if isinstance(error, sqlite3.IntegrityError) and "UNIQUE" in str(error):
        return Duplicate(str(error))
    if "full" in str(error):
        return StorageFull("the disk of the database is full")
    return StorageAway(f"the database did not answer: {error}")


def _engine(path: Path, pool_size: int, pragmas: tuple[str, ...], begin: str) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        poolclass=AsyncAdaptedQueuePool,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _connection(path: Path, *more: str, any_thread: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=not any_thread, cached_statements=256)
    for pragma in (*_PRAGMAS, *more):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _file_of(path: Path) -> tuple[int, int] | None:
    """Which file a name leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class SqliteBackend:
    """See the module. Raises RefusesToStart when the file is not there: only `portal init` makes one."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise RefusesToStart(f"there is no database at {path}; `portal init` makes one")
        self._path, self._file = path, _file_of(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._lock = WriteLock(path.with_name(path.name + ".lock"))
        self._turn = asyncio.Lock()
        self._writer = _connection(path, any_thread=True)
        self._reader = _connection(path, "query_only=ON")
        self._reads = _engine(path, 8, (*_PRAGMAS, "query_only=ON"), "BEGIN")
        self._writes = _engine(path, 1, _PRAGMAS, "BEGIN IMMEDIATE")
        self.dialect = self._writes.dialect

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        self._check_file()
        async with self._reads.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._turn:
            await self._acquire()
            try:
                self._check_file()
                async with self._writes.begin() as connection:
                    yield connection
            finally:
                self._lock.release()

    def _check_file(self) -> None:
        """Raises StorageAway when the file was removed or replaced: SQLite would go on writing to one that no name leads to."""
        if _file_of(self._path) != self._file:
            raise StorageAway(f"{self._path} is not the file that was opened; put it back, or restart the portal")

    async def _acquire(self) -> None:
        """Waits for the write lock in a thread; one that is cancelled meanwhile gives back what the thread still gets."""
        if self._lock.try_acquire():
            return
        waiting = asyncio.ensure_future(asyncio.to_thread(self._lock.acquire))
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            await asyncio.wait([waiting])
            if waiting.exception() is None:
                self._lock.release()
            raise

    async def fetch(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error) from error

    async def apply(self, batch: Sequence[Sequence[Prepared]]) -> list[Outcome]:
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, batch)

    def _apply(self, batch: Sequence[Sequence[Prepared]]) -> list[Outcome]:
        run = self._writer.execute
        with self._lock.held():
            self._check_file()
            try:
                run("BEGIN IMMEDIATE")
                outcomes = [self._apply_one(change) for change in batch]
                run("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    run("ROLLBACK")
                raise (translated(error) if isinstance(error, sqlite3.Error) else error) from None
        return outcomes

    def _apply_one(self, change: Sequence[Prepared]) -> Outcome:
        run = self._writer.execute
        run("SAVEPOINT change")
        outcome: Outcome = None
        try:
            for statement in change:
                cursor = run(statement.sql, statement.values)
                hit = cursor.fetchone() is not None if statement.returns_rows else cursor.rowcount > 0
                if statement.must_hit and not hit:
                    outcome = Stale("what this change relied on is no longer so")
                    break
        except sqlite3.IntegrityError as error:
            outcome = translated(error)
        if outcome is not None:
            run("ROLLBACK TO change")
        run("RELEASE change")
        return outcome

    async def close(self) -> None:
        """Closing the last connection checkpoints the log, which is a write: it holds the lock."""
        async with self._turn:
            self._thread.shutdown()
            await self._acquire()
            try:
                await self._reads.dispose()
                await self._writes.dispose()
                self._reader.close()
                self._writer.close()
            finally:
                self._lock.release()
                self._lock.close()
