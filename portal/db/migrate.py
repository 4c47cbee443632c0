"""The schema, brought from any earlier version to this one's: `portal init` and `portal migrate`.

All steps are one transaction on both engines, so a step that fails leaves the database as it was. Two that migrate at once
take turns: by the write lock on SQLite, by an advisory lock on PostgreSQL. A database newer than the program is refused.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from portal import paths
from portal.db.engine import sqlite_path, translating
from portal.db.lock import WriteLock
from portal.db.revision import head
from portal.model.errors import RefusesToStart

_ADVISORY_LOCK = 0x706F7274616C  # "portal"
# A batch step copies a table and drops the old one: with foreign keys on, that would be refused or cascade.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF", "busy_timeout=30000", "temp_store=MEMORY")


async def migrate(url: str, *, create: bool = False) -> str:
    """Runs every step that is missing and returns the revision reached. Running it again changes nothing.

    `create` makes an SQLite file (mode 0600, in a folder that is there); a PostgreSQL database must exist either way.
    Raises RefusesToStart when there is no such database or it is newer than this program, StorageAway when it does not answer.
    """
    path = sqlite_path(url)
    if path is not None and create:
        _make(path)
    async with _connected(url) as connection:
        if path is None:
            await connection.execute(text("SET LOCAL lock_timeout = '60s'"))
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        return await connection.run_sync(_upgrade)


async def current(url: str) -> str | None:
    """The revision a database stands at; None when it has no schema yet. Raises RefusesToStart when it is not there."""
    async with _connected(url) as connection:
        return await connection.run_sync(_stands_at)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _stands_at(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> str:
    _refuse_unknown(_stands_at(connection))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite" and connection.execute(text("PRAGMA foreign_key_check")).first():
        raise RefusesToStart("after the migration a row points to one that is not there; nothing was changed")
    return head()


def _refuse_unknown(revision: str | None) -> None:
    try:
        _script().get_revision(revision or "base")
    except CommandError:
        raise RefusesToStart(
            f"the database stands at revision {revision}, which this version of the portal does not know (it knows up to"
            f" {head()}); install the newer portal that made it, or restore the backup from before"
        ) from None


def _make(path: Path) -> None:
    """An empty file that only its owner can read; SQLite gives the same mode to the log beside it."""
    if not path.parent.is_dir():
        raise RefusesToStart(f"there is no folder {path.parent.absolute()} for the database; make it first")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[AsyncConnection]:
    """A transaction on a connection of its own, holding the write lock (SQLite) until the connection is closed."""
    path = sqlite_path(url)
    if path is None:
        with translating():
            async with _transaction(create_async_engine(_postgresql(url), poolclass=NullPool)) as connection:
                yield connection
        return
    if not path.is_file():
        raise RefusesToStart(f"there is no database at {path}; `portal init` makes one")
    lock = WriteLock(path.with_name(path.name + ".lock"))
    try:
        await asyncio.to_thread(lock.acquire)
        with translating():
            async with _transaction(_sqlite_engine(path)) as connection:
                yield connection
    finally:
        lock.close()


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


def _postgresql(url: str) -> Any:
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        raise RefusesToStart(f"PORTAL_DATABASE_URL: {parsed.get_backend_name()} is not an engine the portal knows")
    return parsed.set(drivername="postgresql+asyncpg")


def _sqlite_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
