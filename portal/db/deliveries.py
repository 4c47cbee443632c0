"""Deliveries: one message for one recipient. What moves them stands in portal/model/message.py; here it is written down."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Row, Select, bindparam, case, func, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import deliveries as t
from portal.db.tables import instant, messages, micros, policies, recipients, renditions
from portal.db.tx import BookkeepingTx, Change, ReadTx, WriteTx
from portal.model.access import Target
from portal.model.assurance import Assurance
from portal.model.events import (
    AskedAgain,
    AttachmentOpened,
    DeliveryDisposed,
    DeliveryExpired,
    DeliveryExtended,
    DeliveryRestored,
    DeliveryRevoked,
    MessageOpened,
    NoticeBounced,
    NoticeFailed,
    NoticeSent,
    OriginalDownloaded,
    ReplySubmitted,
)
from portal.model.ids import BlobKey, DeliveryId, EpochId, MessageId, OrgId, RecipientId
from portal.model.message import READABLE, DeliveryState, Progress

Released: TypeAlias = MessageOpened | AttachmentOpened | OriginalDownloaded
_READABLE = sorted(state.value for state in READABLE)


@dataclass(frozen=True)
class Delivery:
    """A delivery as it stands."""

    id: DeliveryId
    org_id: OrgId
    message_id: MessageId
    recipient_id: RecipientId
    state: DeliveryState
    needs: Assurance
    reply_allowed: bool
    accepted_at: datetime
    expires_at: datetime
    remind_at: datetime | None
    noticed_at: datetime | None
    opened_at: datetime | None
    replied_at: datetime | None
    ended_at: datetime | None
    end_reason: str | None
    notice_failed_at: datetime | None
    bounced_at: datetime | None
    asked_at: datetime | None

    @property
    def progress(self) -> Progress:
        return Progress(self.noticed_at, self.opened_at, self.replied_at)


def _delivery(row: Row[Any]) -> Delivery:
    values = {name: getattr(row, name) for name in Delivery.__dataclass_fields__}
    values["state"], values["needs"] = DeliveryState(row.state), Assurance(row.needs)
    return Delivery(**values)


@dataclass(frozen=True)
class Stored:
    """All of a delivery that opening it needs, in one look-up."""

    target: Target
    reply_allowed: bool
    accepted_at: datetime
    asked_at: datetime | None
    heading_sealed: bytes | None
    blob_key: BlobKey | None
    size: int
    rendition_version: int | None
    rendition_sealed: bytes | None


_STORED = Hot(
    lambda insert: (
        select(
            t.c.org_id,
            t.c.message_id,
            t.c.recipient_id,
            t.c.state,
            t.c.expires_at,
            t.c.needs,
            t.c.reply_allowed,
            t.c.accepted_at,
            t.c.asked_at,
            messages.c.heading_sealed,
            messages.c.blob_key,
            messages.c.size,
            renditions.c.version,
            renditions.c.sealed,
        )
        .join(messages, messages.c.id == t.c.message_id)
        .outerjoin(renditions, renditions.c.message_id == t.c.message_id)
        .where(t.c.id == bindparam("id"))
    )
)
_STATE = Hot(lambda insert: select(t.c.state, t.c.expires_at).where(t.c.id == bindparam("id")))


def _still_readable(now: str) -> list[ColumnElement[bool]]:
    return [
        t.c.id == bindparam("delivery"),
        t.c.state.in_([literal(s) for s in _READABLE]),
        t.c.expires_at > bindparam(now, type_=t.c.expires_at.type),
    ]


_CHECK = Hot(lambda insert: select(literal(1)).select_from(t).where(*_still_readable("now")))
_FIRST_OPEN = Hot(
    lambda insert: (
        update(t)
        .where(*_still_readable("now"))
        .values(
            state=case((t.c.state == DeliveryState.REPLIED.value, t.c.state), else_=DeliveryState.OPENED.value),
            opened_at=func.coalesce(t.c.opened_at, bindparam("now", type_=t.c.opened_at.type)),
        )
    ),
    returns_rows=False,
)


async def stored(db: Database, delivery_id: DeliveryId) -> Stored | None:
    row = await db.row(_STORED, id=delivery_id)
    if row is None:
        return None
    (
        org_id,
        message_id,
        recipient_id,
        state,
        expires,
        needs,
        reply,
        accepted,
        asked,
        heading,
        blob,
        size,
        version,
        sealed,
    ) = row
    ids = (org_id, message_id, delivery_id, recipient_id)
    target = Target(*ids, DeliveryState(state), instant(expires), Assurance(needs))
    asked_at = None if asked is None else instant(asked)
    return Stored(target, bool(reply), instant(accepted), asked_at, heading, blob, size, version, sealed)


async def still_readable(db: Database, delivery_id: DeliveryId, now: datetime) -> bool:
    """Whether a download that is under way may go on."""
    row = await db.row(_STATE, id=delivery_id)
    return row is not None and row[0] in READABLE and micros(now) < row[1]


def opened(event: Released, target: Target) -> Change[Released]:
    """A view: left out (Stale) when the delivery has ended meanwhile."""
    values = {"delivery": target.delivery_id, "now": micros(event.at)}
    first = target.state in (DeliveryState.HELD, DeliveryState.NOTICED)
    return Change(event, (Statement(_FIRST_OPEN if first else _CHECK, values, must_hit=True),))


# -- lists


@dataclass(frozen=True)
class Line:
    """A delivery in its recipient's inbox."""

    target: Target
    accepted_at: datetime
    opened_at: datetime | None
    heading_sealed: bytes | None
    attachments: int | None


_INBOX = Hot(
    lambda insert: (
        select(
            t.c.org_id,
            t.c.message_id,
            t.c.id,
            t.c.recipient_id,
            t.c.state,
            t.c.expires_at,
            t.c.needs,
            t.c.accepted_at,
            t.c.opened_at,
            messages.c.heading_sealed,
            messages.c.attachments,
        )
        .join(messages, messages.c.id == t.c.message_id)
        .where(
            t.c.recipient_id == bindparam("recipient_id"),
            t.c.org_id == bindparam("org_id"),
            t.c.id < bindparam("before"),
        )
        .order_by(t.c.id.desc())
        .limit(bindparam("limit"))
    )
)
_PAST_ALL_IDS = "g"
"""Sorts after every UUID: the key of the first page."""


async def inbox(
    db: Database, org_id: OrgId, recipient_id: RecipientId, before: DeliveryId | None, limit: int
) -> list[Line]:
    """A page of the inbox, newest first."""
    rows = await db.rows(_INBOX, org_id=org_id, recipient_id=recipient_id, before=before or _PAST_ALL_IDS, limit=limit)
    return [
        Line(
            Target(org, message, delivery, recipient, DeliveryState(state), instant(expires), Assurance(needs)),
            instant(accepted),
            None if opened_at is None else instant(opened_at),
            heading,
            attachments,
        )
        for org, message, delivery, recipient, state, expires, needs, accepted, opened_at, heading, attachments in rows
    ]


async def one(tx: ReadTx, delivery_id: DeliveryId) -> Delivery | None:
    row = await tx.row(select(t).where(t.c.id == delivery_id))
    return _delivery(row) if row else None


async def of_message(tx: ReadTx, message_id: MessageId) -> list[Delivery]:
    return [_delivery(row) for row in await tx.rows(select(t).where(t.c.message_id == message_id).order_by(t.c.id))]


async def _some(tx: ReadTx, statement: Select[Any]) -> list[Delivery]:
    return [_delivery(row) for row in await tx.rows(statement)]


async def past_their_end(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Readable deliveries whose time is up."""
    return await _some(
        tx, select(t).where(t.c.state.in_(_READABLE), t.c.expires_at <= now).order_by(t.c.expires_at).limit(limit)
    )


async def to_remind(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Noticed, unread deliveries whose reminder is due."""
    unread = t.c.state == DeliveryState.NOTICED.value
    return await _some(tx, select(t).where(unread, t.c.remind_at <= now, t.c.expires_at > now).limit(limit))


async def past_retention(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Deliveries not yet disposed of whose message need not be kept any longer."""
    statement = select(t).join(messages, messages.c.id == t.c.message_id)
    due = (messages.c.disposed_at.is_(None), messages.c.retain_until <= now, t.c.state != DeliveryState.DISPOSED.value)
    return await _some(tx, statement.where(*due).order_by(t.c.id).limit(limit))


@dataclass(frozen=True)
class Recipient:
    """Whom a delivery is for; the address is sealed."""

    id: RecipientId
    org_id: OrgId
    epoch_id: EpochId
    address_sealed: bytes


async def recipient_of(tx: ReadTx, delivery_id: DeliveryId) -> Recipient | None:
    statement = select(recipients).join(t, t.c.recipient_id == recipients.c.id).where(t.c.id == delivery_id)
    row = await tx.row(statement)
    return Recipient(row.id, row.org_id, row.epoch_id, row.address_sealed) if row else None


async def policy_name(tx: ReadTx, message_id: MessageId) -> str:
    statement = select(policies.c.name, policies.c.version).join(messages, messages.c.policy_id == policies.c.id)
    row = await tx.row(statement.where(messages.c.id == message_id))
    return f"{row.name} {row.version}" if row else ""


# -- changes: each asks for the transaction of its own event

Ends: TypeAlias = DeliveryExpired | DeliveryRevoked | DeliveryDisposed


async def _set(tx: BookkeepingTx, delivery: Delivery, **values: object) -> bool:
    """Changes a delivery that still has the state and the end it was read with; says whether it had."""
    same = (t.c.id == delivery.id, t.c.state == delivery.state.value, t.c.expires_at == delivery.expires_at)
    return await tx.change(update(t).where(*same).values(values)) == 1


async def end(tx: WriteTx[Ends], delivery: Delivery, state: DeliveryState, reason: str) -> bool:
    return await _set(tx, delivery, state=state.value, ended_at=tx.event.at, end_reason=reason)


async def bring_back(
    tx: WriteTx[DeliveryRestored | DeliveryExtended], delivery: Delivery, state: DeliveryState, expires_at: datetime
) -> bool:
    """A reminder that is still to come moves with the end; whoever asked for the message has been heard."""
    remind_at = delivery.remind_at and delivery.remind_at + (expires_at - delivery.expires_at)
    values = {"expires_at": expires_at, "remind_at": remind_at, "ended_at": None, "end_reason": None, "asked_at": None}
    return await _set(tx, delivery, state=state.value, **values)


async def noticed(tx: WriteTx[NoticeSent], delivery_id: DeliveryId) -> None:
    """Facts first: a delivery that has moved on keeps its state."""
    await tx.change(update(t).where(t.c.id == delivery_id, t.c.noticed_at.is_(None)).values(noticed_at=tx.event.at))
    held = (t.c.id == delivery_id, t.c.state == DeliveryState.HELD.value)
    await tx.change(update(t).where(*held).values(state=DeliveryState.NOTICED.value))


async def notice_failed(tx: WriteTx[NoticeFailed], delivery_id: DeliveryId) -> None:
    await tx.change(update(t).where(t.c.id == delivery_id).values(notice_failed_at=tx.event.at))


async def bounced(tx: WriteTx[NoticeBounced], delivery_id: DeliveryId) -> bool:
    """Says whether this is the first bounce of the delivery."""
    return (
        await tx.change(update(t).where(t.c.id == delivery_id, t.c.bounced_at.is_(None)).values(bounced_at=tx.event.at))
        == 1
    )


async def reminded(tx: BookkeepingTx, delivery_id: DeliveryId) -> bool:
    return (
        await tx.change(update(t).where(t.c.id == delivery_id, t.c.remind_at.is_not(None)).values(remind_at=None)) == 1
    )


async def asked(tx: WriteTx[AskedAgain], delivery_id: DeliveryId) -> bool:
    """Says whether nobody had asked before."""
    return (
        await tx.change(update(t).where(t.c.id == delivery_id, t.c.asked_at.is_(None)).values(asked_at=tx.event.at))
        == 1
    )


async def replied(tx: WriteTx[ReplySubmitted], delivery_id: DeliveryId) -> bool:
    """Says whether the delivery could still be read, and so answered."""
    readable = (t.c.id == delivery_id, t.c.state.in_(_READABLE), t.c.expires_at > tx.event.at)
    values = {"state": DeliveryState.REPLIED.value, "replied_at": tx.event.at}
    return await tx.change(update(t).where(*readable).values(values)) == 1
