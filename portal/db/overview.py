"""Deliveries as staff list and search them: a page at a time, by keys that an index has, however many there are.

Also what reports and previews count. Only metadata: who is sealed, and opened above this floor.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from portal.db import deliveries, holds
from portal.db.apart import Apart
from portal.db.deliveries import Delivery
from portal.db.tables import (
    access_codes,
    audit_events,
    authenticators,
    epochs,
    messages,
    outbox,
    passkeys,
    phones,
    policies,
    recipients,
    relays,
)
from portal.db.tables import deliveries as t
from portal.db.tx import ReadTx
from portal.model.assurance import Assurance
from portal.model.ids import DeliveryId, EpochId, KekId, MessageId, OrgId, RecipientId, first_id
from portal.model.message import READABLE, DeliveryState

_READABLE = sorted(state.value for state in READABLE)
_ANY_STATE = t.c.state.in_(
    sorted(DeliveryState)
)  # of every delivery, and so the key to indexes that have the state before the id
_RECENT = timedelta(days=90)
_NAMED = {"message_id": "message", "recipient_id": "recipient", "sender_hash": "sender", "policy_name": "class"}
NOTICES = ("waiting", "sent", "failed", "bounced")


@dataclass(frozen=True)
class Wanted:
    """What is searched for; None means any. `notice` is one of NOTICES."""

    message_id: MessageId | None = None
    recipient_id: RecipientId | None = None
    sender_hash: bytes | None = None
    policy_name: str | None = None
    state: DeliveryState | None = None
    notice: str | None = None
    accepted_from: datetime | None = None
    accepted_until: datetime | None = None
    asked: bool = False
    unread: bool = False
    """Ended without anybody having opened it."""

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(_NAMED.get(name, name) for name in Wanted.__dataclass_fields__ if getattr(self, name))


@dataclass(frozen=True)
class Line:
    """A delivery in a list, with what is sealed of whom it is from and for. `held` says that a hold keeps it."""

    delivery: Delivery
    recipient_sealed: bytes
    recipient_epoch: EpochId
    sender_sealed: bytes
    sender_epoch: EpochId
    policy: str
    size: int
    retain_until: datetime
    held: bool
    scan: str | None
    """What the virus scanner found in the message: `clean`, `infected` or `unscanned`; None where it was not asked."""
    scan_said: str


def _lines() -> Select[Any]:
    return (
        select(
            t,
            recipients.c.address_sealed.label("recipient_sealed"),
            recipients.c.epoch_id.label("recipient_epoch"),
            messages.c.sender_sealed,
            messages.c.epoch_id.label("sender_epoch"),
            messages.c.size,
            messages.c.retain_until,
            messages.c.scan,
            messages.c.scan_said,
            policies.c.name.label("class_name"),
            policies.c.version.label("class_version"),
            holds.on_delivery().label("held"),
        )
        .join(messages, messages.c.id == t.c.message_id)
        .join(recipients, recipients.c.id == t.c.recipient_id)
        .join(policies, policies.c.id == messages.c.policy_id)
    )


def _line(row: Row[Any]) -> Line:
    return Line(
        delivery=deliveries.delivery(row),
        recipient_sealed=row.recipient_sealed,
        recipient_epoch=row.recipient_epoch,
        sender_sealed=row.sender_sealed,
        sender_epoch=row.sender_epoch,
        policy=f"{row.class_name} {row.class_version}",
        size=row.size,
        retain_until=row.retain_until,
        held=bool(row.held),
        scan=row.scan,
        scan_said=row.scan_said or "",
    )


# A page is read off an index that has just what is wanted, in the order of the ids: so it costs the same however many there
# are. A state is looked for in each class, and a class in each state, side by side and merged: so one index serves both. What
# is rare has indexes of its own rows only, and of one person or message there are few: the rest is looked at row by row.

_VALUES = {"message_id": t.c.message_id, "recipient_id": t.c.recipient_id, "sender_hash": t.c.sender_hash}
_FACTS: dict[str, tuple[ColumnElement[bool], ...]] = {
    "failed": (t.c.notice_failed_at.is_not(None),),
    "bounced": (t.c.bounced_at.is_not(None),),
    "asked": (t.c.asked_at.is_not(None),),
    "unread": (t.c.opened_at.is_(None),),
    "sent": (t.c.noticed_at.is_not(None), t.c.bounced_at.is_(None)),
    "waiting": (t.c.notice_failed_at.is_(None),),
}
_KEYS = (
    ("message_id", {"message_id"}),
    ("recipient_id", {"recipient_id"}),
    ("unread", {"org_id", "sender_hash"}),
    ("failed", {"org_id"}),
    ("bounced", {"org_id"}),
    ("asked", {"org_id"}),
)
"""What leaves few, and the columns of its index; the first that is wanted chooses."""


@dataclass(frozen=True)
class _Shape:
    """What a search names, without the values: each has a statement, made once. `classes` are the parameters that name one."""

    named: frozenset[str]
    states: tuple[DeliveryState, ...]
    classes: tuple[str, ...]
    limit: int


async def page(
    tx: ReadTx, org_id: OrgId, wanted: Wanted, before: DeliveryId | None, limit: int, sender: bytes | None = None
) -> list[Line]:
    """Newest first, from the delivery with id `before` down. `sender` narrows to one's own, whatever is wanted."""
    states = _states(wanted)
    if not states or (sender is not None and wanted.sender_hash not in (None, sender)):
        return []
    # Ids sort by the time they were made, a moment before acceptance: so the key of the list serves for dates too.
    ends = [first_id(wanted.accepted_until)] if wanted.accepted_until else []
    ends += [before] if before else []
    values = {
        "message_id": wanted.message_id,
        "recipient_id": wanted.recipient_id,
        "sender_hash": wanted.sender_hash if sender is None else sender,
        "from_id": first_id(wanted.accepted_from) if wanted.accepted_from else None,
        "before_id": min(ends, default=None),
    }
    named = {name: value for name, value in values.items() if value is not None}
    facts = {wanted.notice or "", "asked" if wanted.asked else "", "unread" if wanted.unread else ""} - {""}
    classes = [wanted.policy_name] if wanted.policy_name is not None else []
    if not classes and len(states) < len(DeliveryState) and not any(key in named or key in facts for key, _ in _KEYS):
        classes = await _classes(tx, org_id)
    names = {f"class_{number}": name for number, name in enumerate(classes)}
    shape = _Shape(frozenset({*facts, *named}), states, tuple(names), limit)
    return [_line(row) for row in await tx.rows(_page(shape), {"org_id": org_id, **named, **names})]


def _states(wanted: Wanted) -> tuple[DeliveryState, ...]:
    """Those that can be among what is wanted; all where any can."""
    states = {wanted.state} if wanted.state else set(DeliveryState)
    if wanted.unread:
        states &= {DeliveryState.EXPIRED}
    if wanted.notice == "waiting":
        states &= {DeliveryState.HELD}
    return tuple(sorted(states))


async def _classes(tx: ReadTx, org_id: OrgId) -> list[str]:
    """Every class that a delivery of the organisation can be in."""
    return [row.name for row in await tx.rows(select(policies.c.name).where(policies.c.org_id == org_id).distinct())]


@lru_cache(maxsize=512)
def _page(shape: _Shape) -> Select[Any]:
    by = next((columns for key, columns in _KEYS if key in shape.named), None)
    if by is None and shape.classes:
        by = {"org_id", "sender_hash", "policy_name", "state"}
        ids = [_ids(shape, by, state, named) for state in shape.states for named in shape.classes]
    else:
        state = shape.states[0] if len(shape.states) == 1 else None
        ids = [_ids(shape, by or {"org_id", "sender_hash"}, state, next(iter(shape.classes), None))]
    limit: ColumnElement[int] = literal_column(str(shape.limit))  # a number that the planner sees
    newest = [one.order_by(t.c.id.desc()).limit(limit).subquery() for one in ids]
    merged = union_all(*(select(one.c.id) for one in newest)).order_by(literal_column("id").desc()).limit(limit)
    keys = merged.subquery() if len(newest) > 1 else newest[0]
    return _lines().join(keys, keys.c.id == t.c.id).order_by(t.c.id.desc())


def _ids(shape: _Shape, by: set[str], state: DeliveryState | None, policy: str | None) -> Select[Any]:
    """The ids of what is wanted, of a state and of a class. What is not in `by` chooses no index."""
    wanted: list[tuple[Any, Any]] = [(t.c.org_id, bindparam("org_id"))]
    wanted += [(column, bindparam(name, type_=column.type)) for name, column in _VALUES.items() if name in shape.named]
    if policy is not None:
        wanted.append((t.c.policy_name, bindparam(policy)))
    if state is not None:
        wanted.append((t.c.state, literal_column(f"'{state.value}'")))
    where = [(column if column.name in by else Apart(column)) == value for column, value in wanted]
    if "from_id" in shape.named:
        where.append(t.c.id >= bindparam("from_id"))
    if "before_id" in shape.named:
        where.append(t.c.id < bindparam("before_id"))
    return select(t.c.id).where(*where, *(one for fact in sorted(shape.named & _FACTS.keys()) for one in _FACTS[fact]))


async def changed_since(
    tx: ReadTx, org_id: OrgId, sender: bytes, wanted: Wanted, since: datetime, limit: int
) -> list[Line]:
    """A sender's deliveries of the time that is wanted to which something happened after `since`, newest first."""
    c = t.c
    moments = (
        c.accepted_at,
        c.noticed_at,
        c.opened_at,
        c.replied_at,
        c.bounced_at,
        c.notice_failed_at,
        c.asked_at,
        c.ended_at,
    )
    where = [c.org_id == org_id, c.sender_hash == sender, or_(*(one > since for one in moments))]
    if wanted.accepted_from:
        where.append(c.id >= first_id(wanted.accepted_from))
    return [_line(row) for row in await tx.rows(_lines().where(*where).order_by(c.id.desc()).limit(limit))]


async def some(tx: ReadTx, org_id: OrgId, ids: list[DeliveryId]) -> list[Line]:
    """Those deliveries of an organisation that are there, oldest first."""
    if not ids:
        return []
    statement = _lines().where(t.c.org_id == org_id, t.c.id.in_(ids)).order_by(t.c.id)
    return [_line(row) for row in await tx.rows(statement)]


async def of_message(tx: ReadTx, org_id: OrgId, message_id: MessageId) -> list[Line]:
    statement = _lines().where(t.c.org_id == org_id, t.c.message_id == message_id).order_by(t.c.id)
    return [_line(row) for row in await tx.rows(statement)]


async def came_by(tx: ReadTx, message_id: MessageId) -> tuple[str, KekId]:
    """The relay that handed a message over, by name, and the KEK that stands behind it."""
    statement = (
        select(relays.c.name, epochs.c.kek_id)
        .select_from(messages)
        .join(relays, relays.c.id == messages.c.relay_id)
        .join(epochs, epochs.c.id == messages.c.epoch_id)
    )
    row = await tx.row(statement.where(messages.c.id == message_id))
    return (str(row.name), KekId(row.kek_id)) if row else ("", KekId(""))


@dataclass(frozen=True)
class Told:
    """A mail to the sender about a delivery: its occasion, how it went, and when."""

    delivery_id: DeliveryId
    kind: str
    state: str
    at: datetime


async def told(tx: ReadTx, ids: list[DeliveryId], kinds: tuple[str, ...]) -> list[Told]:
    """The mails of some kinds about these deliveries, oldest first."""
    c = outbox.c
    statement = select(c.delivery_id, c.kind, c.state, c.made_at, c.settled_at)
    rows = await tx.rows(statement.where(c.delivery_id.in_(ids), c.kind.in_(kinds)).order_by(c.id))
    return [Told(row.delivery_id, row.kind, row.state, row.settled_at or row.made_at) for row in rows]


# -- what previews count


async def under_way(tx: ReadTx, org_id: OrgId, policy_name: str) -> int:
    """Deliveries of a class that can still be read."""
    its = (t.c.org_id == org_id, t.c.policy_name == policy_name, t.c.state.in_(_READABLE))
    row = await tx.row(select(func.count()).select_from(t).where(*its))
    return int(row[0]) if row else 0


def _recent(org_id: OrgId, policy_name: str, now: datetime) -> list[ColumnElement[bool]]:
    any_state = t.c.state.in_(sorted(DeliveryState))  # true of all: the index has the state before the id
    return [t.c.org_id == org_id, t.c.policy_name == policy_name, any_state, t.c.id >= first_id(now - _RECENT)]


async def recent_recipients(tx: ReadTx, org_id: OrgId, policy_name: str, now: datetime) -> int:
    """People who had a message of a class in the last 90 days."""
    row = await tx.row(select(func.count(t.c.recipient_id.distinct())).where(*_recent(org_id, policy_name, now)))
    return int(row[0]) if row else 0


async def without_second_way(tx: ReadTx, org_id: OrgId, policy_name: str, now: datetime, needs: Assurance) -> int:
    """Those of them who have no way in of their own to the level that is needed."""
    who = t.c.recipient_id
    key = select(passkeys.c.id).where(passkeys.c.recipient_id == who).exists()
    phone = select(phones.c.recipient_id).where(phones.c.recipient_id == who).exists()
    app = (
        select(authenticators.c.recipient_id)
        .where(authenticators.c.recipient_id == who, authenticators.c.confirmed_at.is_not(None))
        .exists()
    )
    able = key if needs >= Assurance.PASSKEY else or_(key, phone, app)
    statement = select(func.count(who.distinct())).where(and_(*_recent(org_id, policy_name, now)), ~able)
    row = await tx.row(statement)
    return int(row[0]) if row else 0


async def with_access_code(tx: ReadTx, ids: list[DeliveryId]) -> set[DeliveryId]:
    """Which of these deliveries have an access code."""
    rows = await tx.rows(select(access_codes.c.delivery_id).where(access_codes.c.delivery_id.in_(ids)))
    return {DeliveryId(row.delivery_id) for row in rows}


@dataclass(frozen=True)
class Act:
    """A line of the record, as the page of a relay shows it. `detail` is JSON."""

    kind: str
    detail: str
    origin: str
    at: datetime


async def of_actor(tx: ReadTx, org_id: OrgId, actor: str, limit: int) -> list[Act]:
    """What somebody (a relay) did last in an organisation, newest first. A relay may bring back what was another organisation's."""
    e = audit_events.c
    statement = (
        select(e.kind, e.detail, e.origin, e.at)
        .where(e.actor == actor, e.org_id == org_id)
        .order_by(e.id.desc())
        .limit(limit)
    )
    return [Act(row.kind, row.detail, row.origin or "", row.at) for row in await tx.rows(statement)]
