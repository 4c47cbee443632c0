"""The audit table: one insert, and the ways to look at it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, select

from portal.db.hot import Hot, Parameters
from portal.db.tables import audit_events as t
from portal.db.tables import micros
from portal.db.tx import ReadTx
from portal.model.events import Event
from portal.model.ids import DeliveryId, EventId, MessageId, OrgId

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
    since: datetime | None = None
    until: datetime | None = None


def _where(wanted: Filter) -> Select[Any]:
    statement = select(t).order_by(t.c.id)
    for name in ("org_id", "message_id", "delivery_id", "kind"):
        value = getattr(wanted, name)
        if value is not None:
            statement = statement.where(t.c[name] == value)
    if wanted.since:
        statement = statement.where(t.c.at >= wanted.since)
    if wanted.until:
        statement = statement.where(t.c.at < wanted.until)
    return statement


async def page(tx: ReadTx, wanted: Filter, after: EventId | None, limit: int) -> list[Recorded]:
    """The next `limit` lines after the one with id `after`, oldest first."""
    statement = _where(wanted).limit(limit)
    if after:
        statement = statement.where(t.c.id > after)
    return [
        Recorded(
            id=row.id,
            at=row.at,
            kind=row.kind,
            who=row.who,
            actor=row.actor,
            org_id=row.org_id,
            message_id=row.message_id,
            delivery_id=row.delivery_id,
            session=row.session,
            origin=row.origin,
            detail=json.loads(row.detail),
        )
        for row in await tx.rows(statement)
    ]
