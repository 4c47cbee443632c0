"""Throttles that survive restarts: how often something was done in a window of time."""

from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ClauseElement, bindparam, case, delete, select

from portal.db.engine import Database
from portal.db.hot import Hot, Insert, Statement
from portal.db.tables import instant, micros, throttles
from portal.db.tx import BookkeepingTx

_FROM = throttles.c.window_from


def _count_up(insert: Insert) -> ClauseElement:
    new = insert(throttles).values(key=bindparam("key"), window_from=bindparam("now", type_=_FROM.type), count=1)
    stale = bindparam("stale", type_=_FROM.type) >= _FROM
    again = {
        "count": case((stale, 1), else_=throttles.c.count + 1),
        "window_from": case((stale, new.excluded.window_from), else_=_FROM),
    }
    return cast(ClauseElement, new.on_conflict_do_update(index_elements=[throttles.c.key], set_=again))


def _keep(insert: Insert) -> ClauseElement:
    new = insert(throttles).values(
        key=bindparam("key"), window_from=bindparam("at", type_=_FROM.type), count=bindparam("count")
    )
    again = {name: new.excluded[name] for name in ("window_from", "count")}
    return cast(ClauseElement, new.on_conflict_do_update(index_elements=[throttles.c.key], set_=again))


_COUNT = Hot(_count_up, returns_rows=False)
_KEEP = Hot(_keep, returns_rows=False)
_LOOK = Hot(
    lambda insert: select(throttles.c.count, throttles.c.window_from).where(throttles.c.key == bindparam("key"))
)


async def count(db: Database, key: bytes, now: datetime, window: timedelta) -> tuple[int, datetime]:
    """Counts one more, and says how many that makes in the window and when the window began."""
    values = {"key": key, "now": micros(now), "stale": micros(now - window)}
    await db.note(Statement(_COUNT, values))
    return await look(db, key) or (1, now)


async def look(db: Database, key: bytes) -> tuple[int, datetime] | None:
    """A counter and its moment, as they were left."""
    row = await db.row(_LOOK, key=key)
    return (row[0], instant(row[1])) if row else None


async def keep(db: Database, key: bytes, at: datetime, count: int = 1) -> None:
    """Sets a counter and its moment."""
    await db.note(Statement(_KEEP, {"key": key, "at": micros(at), "count": count}))


async def forget_old(tx: BookkeepingTx, before: datetime) -> int:
    return await tx.change(delete(throttles).where(throttles.c.window_from < before))
