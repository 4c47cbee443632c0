"""The audit table: one insert, and the ways to look at it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Select, bindparam, func, literal, select

from portal.db.hot import Hot, Parameters
from portal.db.tables import audit_events as t
from portal.db.tables import instant, micros
from portal.db.tx import ReadTx
from portal.model.events import Event
from portal.model.ids import DeliveryId, EventId, MessageId, OrgId

if TYPE_CHECKING:
    from portal.db.engine import Database

RECORD = Hot(
    lambda insert: insert(t).values({column: bindparam(column.name, type_=column.type) for column in t.columns}),
    returns_rows=False,
)


def values(event: Event, event_id: str) -> Parameters:
    """The row of an event. `detail` is JSON with sorted keys, so that the same event is the same bytes."""
    return {
        "id": event_id,
        "at": micros(event.at),
        "kind": event.kind,
        "who": event.who.value,
        "actor": event.actor,
        "org_id": event.org_id,
        "message_id": event.message_id,
        "delivery_id": event.delivery_id,
        "session": event.session,
        "origin": event.origin,
        "detail": json.dumps(event.detail(), sort_keys=True, separators=(",", ":")),
    }


@dataclass(frozen=True)
class Recorded:
    """One line of the log."""

    id: EventId
    at: datetime
    kind: str
    who: str
    actor: str
    org_id: OrgId | None
    message_id: MessageId | None
    delivery_id: DeliveryId | None
    session: str | None
    origin: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """What of the log is wanted; None means any."""

    org_id: OrgId | None = None
    message_id: MessageId | None = None
    delivery_id: DeliveryId | None = None
    kind: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def _where(wanted: Filter) -> Select[Any]:
    statement = select(t).order_by(t.c.id)
    for name in ("org_id", "message_id", "delivery_id", "kind", "actor"):
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(t.c[name] == value)
    if wanted.since:
        statement = statement.where(t.c.at >= wanted.since)
    if wanted.until:
        statement = statement.where(t.c.at < wanted.until)
    return statement


async def count(tx: ReadTx, wanted: Filter) -> int:
    """How many lines the filter finds."""
    row = await tx.row(select(func.count()).select_from(_where(wanted).order_by(None).subquery()))
    return int(row[0]) if row else 0


async def page_back(tx: ReadTx, wanted: Filter, before: EventId | None, limit: int) -> list[Recorded]:
    """The `limit` lines before the one with id `before`, newest first."""
    statement = _where(wanted).order_by(None).order_by(t.c.id.desc()).limit(limit)
    if before:
        statement = statement.where(t.c.id < before)
    return [_recorded(row) for row in await tx.rows(statement)]


async def page(tx: ReadTx, wanted: Filter, after: EventId | None, limit: int) -> list[Recorded]:
    """The next `limit` lines after the one with id `after`, oldest first."""
    statement = _where(wanted).limit(limit)
    if after:
        statement = statement.where(t.c.id > after)
    return [_recorded(row) for row in await tx.rows(statement)]


def _recorded(row: Row[Any]) -> Recorded:
    values = {name: getattr(row, name) for name in Recorded.__dataclass_fields__}
    return Recorded(**{**values, "detail": json.loads(row.detail)})


# -- what the reader of a message is shown of its own log

_SHOWN = ("MessageOpened", "AttachmentOpened", "OriginalDownloaded", "ReplySubmitted")
_SEEN = Hot(
    lambda insert: (
        select(t.c.at, t.c.kind, t.c.detail, t.c.session)
        .where(t.c.delivery_id == bindparam("delivery"), t.c.at < bindparam("before", type_=t.c.at.type))
        .where(t.c.kind.in_([literal(kind) for kind in _SHOWN]))
        .order_by(t.c.id.desc())
        .limit(10)
    )
)


@dataclass(frozen=True)
class Seen:
    """Something the recipient did with a message."""

    at: datetime
    kind: str
    part: str
    session: str = ""


async def seen(db: "Database", delivery_id: DeliveryId, before: datetime) -> list[Seen]:
    """The last ten times that content of a delivery was released, newest first; without new messages, which answer nothing."""
    rows = await db.rows(_SEEN, delivery=delivery_id, before=micros(before))
    # In one call: ten calls cost nearly twice as much.
    details = json.loads(f"[{','.join([detail for _, _, detail, _ in rows])}]")
    return [
        Seen(instant(at), kind, str(detail.get("part", "")), session or "")
        for (at, kind, _, session), detail in zip(rows, details, strict=True)
        if not detail.get("fresh")
    ]
