"""Deliveries that may go out by the relay once their recipient's domain has become safe, and what became of that.

A row is made at acceptance, and only where nothing but the verdict brought the message here. `look_at` is when the domain is looked
at next; None for never again. The row outlasts the delivery's graduation, so that what the relay brings back is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, literal, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import deliveries, instant, micros, outbox, received, recipients
from portal.db.tables import graduations as t
from portal.db.tx import BookkeepingTx, Change, ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import (
    GraduationBegun,
    GraduationFailed,
    GraduationOpened,
    GraduationReturned,
    MessageGraduated,
)
from portal.model.ids import DeliveryId, EpochId, MessageId, OrgId, RecipientId
from portal.model.mails import MailKind
from portal.model.message import DeliveryState
from portal.model.routes import Rule

# -- at acceptance

_ADD = Hot(lambda insert: insert(t).values({c: bindparam(c.name, type_=c.type) for c in t.columns}), returns_rows=False)
_MARKED = Hot(
    lambda insert: (
        select(
            t.c.delivery_id,
            t.c.body_hash,
            deliveries.c.message_id,
            deliveries.c.state,
            deliveries.c.expires_at,
        )
        .join(deliveries, deliveries.c.id == t.c.delivery_id)
        .where(t.c.org_id == bindparam("org_id"), t.c.mark == bindparam("mark"), t.c.tries > literal(0))
    )
)


def add(
    delivery_id: DeliveryId,
    org_id: OrgId,
    *,
    mark: bytes,
    body_hash: bytes,
    address_hash: bytes,
    came_by: Rule,
    look_at: datetime,
) -> Statement:
    """For the commit of a message. `mark` is the keyed hash of what makes it the same mail to the same person."""
    row = dict.fromkeys((column.name for column in t.columns), None) | {
        "delivery_id": delivery_id,
        "org_id": org_id,
        "mark": mark,
        "body_hash": body_hash,
        "address_hash": address_hash,
        "came_by": came_by.value,
        "look_at": micros(look_at),
        "tries": 0,
    }
    return Statement(_ADD, row)


@dataclass(frozen=True)
class Marked:
    """A delivery of the same mail to the same person, that has gone out by the relay or was about to."""

    delivery_id: DeliveryId
    message_id: MessageId
    body_hash: bytes
    state: DeliveryState
    expires_at: datetime


async def marked(db: Database, org_id: OrgId, mark: bytes) -> list[Marked]:
    rows = await db.rows(_MARKED, org_id=org_id, mark=mark)
    return [
        Marked(DeliveryId(id_), MessageId(message), body, DeliveryState(state), instant(expires))
        for id_, body, message, state, expires in rows
    ]


async def returned(
    tx: WriteTx[GraduationReturned], delivery_id: DeliveryId, org_id: OrgId, key: bytes, recipient_id: RecipientId
) -> None:
    """It stays from now on, whatever is still queued; and the transaction that brought it back is known, should it come twice."""
    queued = (outbox.c.delivery_id == delivery_id, outbox.c.kind == MailKind.ONWARD.value, outbox.c.state == "queued")
    await tx.change(update(outbox).where(*queued).values(state="dropped", settled_at=tx.event.at, lease_until=None))
    await tx.change(update(t).where(t.c.delivery_id == delivery_id).values(look_at=None))
    row = {"key": key, "recipient_id": recipient_id, "org_id": org_id, "delivery_id": delivery_id}
    await tx.change(tx.insert(received).values(row))


# -- looks


@dataclass(frozen=True)
class Row:
    """One of them as it stands. `safe_at` and `safe_by` are of the look that found the domain safe first."""

    delivery_id: DeliveryId
    org_id: OrgId
    address_hash: bytes
    came_by: Rule
    look_at: datetime | None
    safe_at: datetime | None
    safe_by: Rule | None
    tries: int
    gone_at: datetime | None
    transcript_sealed: bytes | None
    epoch_id: EpochId | None


def _row(values: dict[str, object]) -> Row:
    kept = {name: values[name] for name in Row.__dataclass_fields__}
    kept["came_by"] = Rule(str(kept["came_by"]))
    kept["safe_by"] = Rule(str(kept["safe_by"])) if kept["safe_by"] else None
    return Row(**kept)  # type: ignore[arg-type]


async def due(tx: ReadTx, now: datetime, limit: int) -> list[Row]:
    """Those whose domain is to be looked at, the longest due first."""
    statement = select(t).where(t.c.look_at <= now).order_by(t.c.look_at).limit(limit)
    return [_row(dict(row._mapping)) for row in await tx.rows(statement)]


async def of(tx: ReadTx, ids: Sequence[DeliveryId]) -> dict[DeliveryId, Row]:
    rows = await tx.rows(select(t).where(t.c.delivery_id.in_(ids)))
    return {DeliveryId(row.delivery_id): _row(dict(row._mapping)) for row in rows}


async def same_address(tx: ReadTx, row: Row) -> bool:
    """Whether its recipient still has the address that the message was sent to."""
    statement = select(recipients.c.address_hash).join(deliveries, deliveries.c.recipient_id == recipients.c.id)
    found = await tx.row(statement.where(deliveries.c.id == row.delivery_id))
    return found is not None and found[0] == row.address_hash


async def looked(
    tx: BookkeepingTx, row: Row, look_at: datetime | None, safe_at: datetime | None, safe_by: Rule | None
) -> bool:
    """What a look found, and when the next one is; says whether nobody else was faster."""
    values = {"look_at": look_at, "safe_at": safe_at, "safe_by": safe_by.value if safe_by else None}
    same = (t.c.delivery_id == row.delivery_id, t.c.look_at == row.look_at)
    return await tx.change(update(t).where(*same).values(values)) == 1


# -- the way out


async def begun(tx: WriteTx[GraduationBegun], row: Row, transcript_sealed: bytes, epoch_id: EpochId) -> bool:
    values = {"look_at": None, "tries": row.tries + 1, "transcript_sealed": transcript_sealed, "epoch_id": epoch_id}
    same = (t.c.delivery_id == row.delivery_id, t.c.look_at == row.look_at)
    return await tx.change(update(t).where(*same).values(values)) == 1


_STILL_GOING = Hot(
    lambda insert: (
        select(literal(1))
        .select_from(deliveries)
        .where(
            deliveries.c.id == bindparam("delivery"),
            deliveries.c.state == literal(DeliveryState.GRADUATED.value),
            deliveries.c.stopped.is_(None),
            deliveries.c.needs == literal(int(Assurance.MAILBOX)),
        )
    )
)


def opened(event: GraduationOpened) -> Change[GraduationOpened]:
    """Left out (Stale) when the delivery was given back meanwhile, or the message was found infected or put under a higher level."""
    return Change(event, (Statement(_STILL_GOING, {"delivery": event.delivery_id}, must_hit=True),))


async def gone(tx: WriteTx[MessageGraduated], delivery_id: DeliveryId) -> None:
    await tx.change(update(t).where(t.c.delivery_id == delivery_id).values(gone_at=tx.event.at))


async def failed(tx: WriteTx[GraduationFailed], delivery_id: DeliveryId, look_at: datetime | None) -> None:
    """From the beginning: safe twice, from `look_at` on."""
    values = {"look_at": look_at, "safe_at": None, "safe_by": None}
    await tx.change(update(t).where(t.c.delivery_id == delivery_id).values(values))
