"""`Database` on both engines: what it promises whoever writes through it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import bindparam

from portal.clock import Source
from portal.db import audit, limits
from portal.db.audit import Filter
from portal.db.engine import Database, Duplicate, sqlite_path
from portal.db.hot import Hot, Statement
from portal.db.lock import WriteLock
from portal.db.tables import throttles
from portal.db.tx import Change
from portal.model.errors import StorageAway
from portal.model.events import SubmissionRefused, Who

pytestmark = pytest.mark.anyio


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database on each engine."""
    made = Database(database_url, Source())
    yield made
    await made.close()


_PLAIN_INSERT = Hot(
    lambda insert: insert(throttles).values(
        {column: bindparam(column.name, type_=column.type) for column in throttles.columns}
    ),
    returns_rows=False,
)


def refused(reason: str) -> SubmissionRefused:
    return SubmissionRefused(at=datetime.now(UTC), who=Who.STRANGER, reason=reason)


async def reasons(db: Database) -> list[str]:
    async with db.read() as tx:
        return [line.detail["reason"] for line in await audit.page(tx, Filter(), None, 1000)]


async def test_events_of_many_callers_share_commits_and_none_is_lost(db: Database) -> None:
    """Two hundred events recorded at once are all there, each once."""
    await asyncio.gather(*(db.record(refused(str(number))) for number in range(200)))
    assert sorted(await reasons(db), key=int) == [str(number) for number in range(200)]


async def test_a_change_that_is_left_out_takes_no_other_with_it(db: Database) -> None:
    """In one batch a duplicate is refused, with its event, and its neighbours are kept."""
    row = Statement(_PLAIN_INSERT, {"key": b"k" * 32, "window_from": 0, "count": 1})
    await db.commit(Change(refused("first"), (row,)))
    outcomes = await asyncio.gather(
        db.record(refused("before")),
        db.commit(Change(refused("again"), (row,))),
        db.record(refused("after")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), Duplicate, type(None)]
    assert sorted(await reasons(db)) == ["after", "before", "first"]


async def test_a_failed_write_leaves_no_event(db: Database) -> None:
    """What a rolled-back transaction announced did not happen."""
    with pytest.raises(ZeroDivisionError):
        async with db.write(refused("never")):
            raise ZeroDivisionError
    assert await reasons(db) == []


async def test_a_caller_that_leaves_does_not_stop_the_others(db: Database) -> None:
    """A cancelled caller's batch goes on for its neighbours."""
    gone = asyncio.create_task(db.record(refused("gone")))
    stays = asyncio.create_task(db.record(refused("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert "stays" in await reasons(db)
    await db.record(refused("later"))
    assert "later" in await reasons(db)


async def test_counts_in_a_window_begin_anew_after_it(db: Database) -> None:
    """A throttle counts up within its window and from one after it."""
    now, key, minute = datetime.now(UTC), b"k" * 32, timedelta(minutes=1)
    assert [(await limits.count(db, key, now, minute))[0] for _ in range(3)] == [1, 2, 3]
    assert (await limits.count(db, key, now + minute, minute))[0] == 1


async def test_a_writer_cancelled_while_it_waits_gives_the_lock_back(tmp_path: Path, sqlite_template: Path) -> None:
    """Somebody who leaves the queue for the file lock does not keep it for ever."""
    path = tmp_path / "portal.db"
    shutil.copy(sqlite_template, path)
    db = Database(f"sqlite:///{path}", Source())
    assert sqlite_path(f"sqlite:///{path}") == path
    other = WriteLock(path.with_name("portal.db.lock"))
    other.acquire()

    async def write(reason: str) -> None:
        async with db.write(refused(reason)):
            pass

    waiting = asyncio.create_task(write("cancelled"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.sleep(0.05)
    other.release()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert other.try_acquire(), "nobody holds the lock any more"
    other.release()
    await write("later")
    assert await reasons(db) == ["later"]
    other.close()
    await db.close()


async def test_a_value_that_no_column_holds_spoils_nothing_that_follows(db: Database) -> None:
    """Whatever a driver makes of an absurd value, the next caller's change is kept."""
    absurd = Statement(_PLAIN_INSERT, {"key": b"k" * 32, "window_from": 2**70, "count": 1})
    with pytest.raises((StorageAway, OverflowError)):
        await db.commit(Change(refused("absurd"), (absurd,)))
    await db.record(refused("next"))
    assert await reasons(db) == ["next"]
