"""Holds: what may not be destroyed. A hold is a row of criteria; a delivery is held when it meets all that are not empty."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, insert, or_, select, update

from portal.db.tables import deliveries, organisations
from portal.db.tables import holds as t
from portal.db.tx import ReadTx, WriteTx
from portal.model.events import HoldPlaced, HoldReleased, MessageMisdirected
from portal.model.ids import HoldId, MessageId, OrgId, RecipientId


@dataclass(frozen=True)
class Criteria:
    """What is held or searched for; None means any. At least one is given for a hold."""

    message_id: MessageId | None = None
    recipient_id: RecipientId | None = None
    sender_hash: bytes | None = None
    policy_name: str | None = None
    accepted_from: datetime | None = None
    accepted_until: datetime | None = None

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(name for name in Criteria.__dataclass_fields__ if getattr(self, name) is not None)


@dataclass(frozen=True)
class Hold:
    """A hold as it stands. `owner` is who answers for it."""

    id: HoldId
    org_id: OrgId
    reason: str
    owner: str
    review_at: datetime
    placed_at: datetime
    criteria: Criteria
    released_at: datetime | None = None
    released_by: str | None = None
    release_reason: str | None = None


def _hold(row: Row[Any]) -> Hold:
    own = {name: getattr(row, name) for name in Hold.__dataclass_fields__ if name != "criteria"}
    return Hold(**own, criteria=Criteria(**{name: getattr(row, name) for name in Criteria.__dataclass_fields__}))


async def place(tx: WriteTx[HoldPlaced | MessageMisdirected], hold: Hold) -> None:
    """The organisation's row is locked, as disposition locks it: what is being destroyed is gone before, or stays."""
    await lock(tx, hold.org_id)
    own = {name: getattr(hold, name) for name in Hold.__dataclass_fields__ if name != "criteria"}
    await tx.change(insert(t).values({**own, **vars(hold.criteria)}))


async def lock(tx: ReadTx, org_id: OrgId) -> None:
    """Holds and disposition of an organisation take turns (on SQLite writers do so anyway)."""
    await tx.row(select(organisations.c.id).where(organisations.c.id == org_id).with_for_update())


async def release(tx: WriteTx[HoldReleased], hold_id: HoldId, reason: str) -> bool:
    """Says whether it was in force still."""
    in_force = (t.c.id == hold_id, t.c.released_at.is_(None))
    values = {"released_at": tx.event.at, "released_by": tx.event.actor, "release_reason": reason}
    return await tx.change(update(t).where(*in_force).values(values)) == 1


async def one(tx: ReadTx, org_id: OrgId, hold_id: str) -> Hold | None:
    row = await tx.row(select(t).where(t.c.org_id == org_id, t.c.id == hold_id))
    return _hold(row) if row else None


async def of_org(tx: ReadTx, org_id: OrgId, limit: int = 200) -> list[Hold]:
    """Those in force first, the next to be reviewed first."""
    statement = select(t).where(t.c.org_id == org_id).order_by(t.c.released_at.is_not(None), t.c.review_at).limit(limit)
    return [_hold(row) for row in await tx.rows(statement)]


def _meets() -> ColumnElement[bool]:
    """SQL: the hold is in force, and the delivery beside it meets its criteria."""
    d = deliveries.c
    return and_(
        t.c.org_id == d.org_id,
        t.c.released_at.is_(None),
        or_(t.c.message_id.is_(None), t.c.message_id == d.message_id),
        or_(t.c.recipient_id.is_(None), t.c.recipient_id == d.recipient_id),
        or_(t.c.sender_hash.is_(None), t.c.sender_hash == d.sender_hash),
        or_(t.c.policy_name.is_(None), t.c.policy_name == d.policy_name),
        or_(t.c.accepted_from.is_(None), t.c.accepted_from <= d.accepted_at),
        or_(t.c.accepted_until.is_(None), t.c.accepted_until > d.accepted_at),
    )


def on_delivery() -> ColumnElement[bool]:
    """SQL: some hold in force holds the delivery of the enclosing statement.

    Asked once for the holds on its message, on its recipient, on its sender, and on none of these: each is found by index,
    so that holds on others cost nothing, however many there are.
    """
    d = deliveries.c
    whose: list[ColumnElement[bool]] = []
    found = []
    for its, of in (
        (t.c.message_id, d.message_id),
        (t.c.recipient_id, d.recipient_id),
        (t.c.sender_hash, d.sender_hash),
    ):
        found.append(and_(*whose, its == of))
        whose.append(its.is_(None))
    return or_(*(exists(select(t.c.id).where(one, _meets()).correlate(deliveries)) for one in (*found, and_(*whose))))


async def of_message(tx: ReadTx, message_id: MessageId) -> list[Hold]:
    """The holds in force that hold some delivery of a message."""
    some = exists(select(deliveries.c.id).where(deliveries.c.message_id == message_id, _meets()).correlate(t))
    return [_hold(row) for row in await tx.rows(select(t).where(some).order_by(t.c.id))]
