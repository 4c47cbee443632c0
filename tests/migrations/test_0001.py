"""The first schema, on both engines: it is what the tables say, and its audit log can only grow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from portal.db.migrate import current, migrate
from portal.db.revision import head
from portal.db.tables import metadata
from portal.model.errors import RefusesToStart, StorageAway

pytestmark = pytest.mark.anyio

_EVENT = text(
    "INSERT INTO audit_events (id, at, kind, who, actor, detail) VALUES (:id, 1, 'SignedOut', 'recipient', 'alice', '{}')"
)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    for_async = url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(for_async)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_give_just_the_tables(empty_url: str) -> None:
    """An empty database that is migrated has the tables, columns, keys and indexes of tables.py, and no others."""
    assert await migrate(empty_url) == head()
    async with connected(empty_url) as connection:
        assert await connection.run_sync(differences) == []


async def test_a_second_run_changes_nothing(empty_url: str) -> None:
    """Migrating what stands at the newest revision is answered with that revision."""
    assert await current(empty_url) is None
    first = await migrate(empty_url)
    assert await migrate(empty_url) == first == await current(empty_url)


async def test_two_at_once_take_turns(empty_url: str) -> None:
    """Of two migrations at the same moment one does the work and the other finds it done."""
    assert set(await asyncio.gather(migrate(empty_url), migrate(empty_url))) == {head()}


async def test_a_newer_database_is_refused(database_url: str) -> None:
    """A revision that this program does not know is named, with what to do, and is left alone."""
    async with connected(database_url) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
        await connection.commit()
    with pytest.raises(
        RefusesToStart, match=r"9999_later, which this version of the portal does not know.*install the newer"
    ):
        await migrate(database_url)
    assert await current(database_url) == "9999_later"


async def test_a_failed_step_leaves_nothing_behind(empty_url: str) -> None:
    """A table that is in the way stops the migration; those made before it are gone again."""
    async with connected(empty_url) as connection:
        await connection.execute(text("CREATE TABLE audit_events (id INTEGER)"))
        await connection.commit()
    with pytest.raises(StorageAway, match="already exists"):
        await migrate(empty_url)
    async with connected(empty_url) as connection:
        with pytest.raises(DBAPIError):
            await connection.execute(text("SELECT 1 FROM organisations"))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'mallory'",
        "UPDATE audit_events SET actor = 'mallory' WHERE id = 'one'",
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE id = 'one'",
    ],
)
async def test_a_record_is_never_changed(database_url: str, statement: str) -> None:
    """Both engines refuse to update and to delete rows of the audit log, and say why."""
    await assert_refused(database_url, statement)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_record_is_never_truncated(database_url: str) -> None:
    """PostgreSQL refuses TRUNCATE; SQLite has no such word."""
    await assert_refused(database_url, "TRUNCATE audit_events")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("columns", "values"), [("id", "'one'"), ("rowid, id", "1, 'two'")])
async def test_a_record_is_never_replaced(database_url: str, columns: str, values: str) -> None:
    """SQLite's INSERT OR REPLACE, which fires no DELETE trigger, is refused as well, by key and by row number."""
    await assert_refused(
        database_url,
        f"INSERT OR REPLACE INTO audit_events ({columns}, at, kind, who, actor, detail)"
        f" VALUES ({values}, 2, 'SignedOut', 'recipient', 'mallory', '{{}}')",
    )


async def assert_refused(url: str, statement: str) -> None:
    async with connected(url) as connection:
        await connection.execute(_EVENT, {"id": "one"})
        await connection.commit()
        with pytest.raises(DBAPIError, match="audit_events is append-only"):
            await connection.execute(text(statement))
        await connection.rollback()
        rows = (await connection.execute(text("SELECT id, actor FROM audit_events"))).all()
        assert rows == [("one", "alice")]


async def test_no_database_is_made_unasked(tmp_path: Path) -> None:
    """A file that is not there is refused and stays so; only `create` makes it, in a folder that is there."""
    url = f"sqlite:///{tmp_path / 'portal.db'}"
    for ask in (migrate(url), current(url)):
        with pytest.raises(RefusesToStart, match=r"there is no database at .*portal init"):
            await ask
    assert modes(tmp_path) == {}
    with pytest.raises(RefusesToStart, match="there is no folder"):
        await migrate(f"sqlite:///{tmp_path / 'missing' / 'portal.db'}", create=True)


async def test_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    """A database that is made is 0600 from its first moment, its lock too, whatever the umask."""
    await migrate(f"sqlite:///{tmp_path / 'portal.db'}", create=True)
    assert modes(tmp_path) == {"portal.db": "0o600", "portal.db.lock": "0o600"}


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
