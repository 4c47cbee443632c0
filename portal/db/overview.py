"""Deliveries as staff list and search them: a page at a time, by keys that an index has, however many there are.

Also what reports and previews count. Only metadata: who is sealed, and opened above this floor.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, func, or_, select

from portal.db import deliveries, holds
from portal.db.deliveries import Delivery
from portal.db.tables import (
    access_codes,
    audit_events,
    authenticators,
    messages,
    outbox,
    passkeys,
    phones,
    policies,
    recipients,
)
from portal.db.tables import deliveries as t
from portal.db.tx import ReadTx
from portal.model.assurance import Assurance
from portal.model.ids import DeliveryId, EpochId, MessageId, OrgId, RecipientId, first_id
from portal.model.message import READABLE, DeliveryState

_READABLE = sorted(state.value for state in READABLE)
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


def _lines(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            t,
            recipients.c.address_sealed.label("recipient_sealed"),
            recipients.c.epoch_id.label("recipient_epoch"),
            messages.c.sender_sealed,
            messages.c.epoch_id.label("sender_epoch"),
            messages.c.size,
            messages.c.retain_until,
            policies.c.name.label("class_name"),
            policies.c.version.label("class_version"),
            holds.on_delivery().label("held"),
        )
        .join(messages, messages.c.id == t.c.message_id)
        .join(recipients, recipients.c.id == t.c.recipient_id)
        .join(policies, policies.c.id == messages.c.policy_id)
        .where(*conditions)
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
    )


async def page(
    tx: ReadTx, org_id: OrgId, wanted: Wanted, before: DeliveryId | None, limit: int, sender: bytes | None = None
) -> list[Line]:
    """Newest first, from the delivery with id `before` down. `sender` narrows to one's own, whatever is wanted."""
    c, where = t.c, [t.c.org_id == org_id]
    exact = ("message_id", "recipient_id", "sender_hash", "policy_name")
    where += [c[name] == getattr(wanted, name) for name in exact if getattr(wanted, name) is not None]
    if sender is not None:
        where.append(c.sender_hash == sender)
    if wanted.state:
        where.append(c.state == wanted.state.value)
    # Ids sort by the time they were made, a moment before acceptance: so the key of the list serves for dates too.
    if wanted.accepted_from:
        where.append(c.id >= first_id(wanted.accepted_from))
    if wanted.accepted_until:
        where.append(c.id < first_id(wanted.accepted_until))
    if before:
        where.append(c.id < before)
    if wanted.asked:
        where.append(c.asked_at.is_not(None))
    if wanted.unread:
        where += [c.state == DeliveryState.EXPIRED.value, c.opened_at.is_(None)]
    where += _notice(wanted.notice)
    keys = select(c.id).where(*where).order_by(c.id.desc()).limit(limit).subquery()
    statement = _lines(c.id.in_(select(keys.c.id))).order_by(c.id.desc())
    return [_line(row) for row in await tx.rows(statement)]


def _notice(notice: str | None) -> list[ColumnElement[bool]]:
    c = t.c
    match notice:
        case "failed":
            return [c.notice_failed_at.is_not(None)]
        case "bounced":
            return [c.bounced_at.is_not(None)]
        case "sent":
            return [c.noticed_at.is_not(None), c.bounced_at.is_(None)]
        case "waiting":
            return [c.state == DeliveryState.HELD.value, c.notice_failed_at.is_(None)]
    return []


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
    return [_line(row) for row in await tx.rows(_lines(*where).order_by(c.id.desc()).limit(limit))]


async def some(tx: ReadTx, org_id: OrgId, ids: list[DeliveryId]) -> list[Line]:
    """Those deliveries of an organisation that are there, oldest first."""
    if not ids:
        return []
    statement = _lines(t.c.org_id == org_id, t.c.id.in_(ids)).order_by(t.c.id)
    return [_line(row) for row in await tx.rows(statement)]


async def of_message(tx: ReadTx, org_id: OrgId, message_id: MessageId) -> list[Line]:
    statement = _lines(t.c.org_id == org_id, t.c.message_id == message_id).order_by(t.c.id)
    return [_line(row) for row in await tx.rows(statement)]


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
    return [t.c.org_id == org_id, t.c.policy_name == policy_name, t.c.id >= first_id(now - _RECENT)]


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


async def of_actor(tx: ReadTx, actor: str, limit: int) -> list[Act]:
    """What somebody (a relay) did last, newest first."""
    e = audit_events.c
    statement = select(e.kind, e.detail, e.origin, e.at).where(e.actor == actor).order_by(e.id.desc()).limit(limit)
    return [Act(row.kind, row.detail, row.origin or "", row.at) for row in await tx.rows(statement)]
