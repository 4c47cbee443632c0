"""Deliveries: one message for one recipient. What moves them stands in portal/model/message.py; here it is written down."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row, Select, exists, select, update

from portal.db import holds
from portal.db.apart import Apart
from portal.db.tables import access_codes, codes, messages, policies, recipients, sessions
from portal.db.tables import deliveries as t
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import (
    AskedAgain,
    ClassRaised,
    DeliveryDisposed,
    DeliveryExpired,
    DeliveryExtended,
    DeliveryQuarantined,
    DeliveryReleased,
    DeliveryRestored,
    DeliveryRevoked,
    GraduationBegun,
    GraduationFailed,
    GraduationReturned,
    NoticeBounced,
    NoticeFailed,
    NoticeRequested,
    NoticeSent,
    ReplySubmitted,
)
from portal.model.ids import DeliveryId, EpochId, MessageId, OrgId, RecipientId
from portal.model.message import READABLE, UNREAD, DeliveryState, Progress, Step, Stopped, after
from portal.model.policy import Policy

_DAY = timedelta(days=1)
_READABLE = sorted(state.value for state in READABLE)
_MORTAL = [*_READABLE, DeliveryState.UNSCANNED.value]
"""What time ends: one that waits for a scan dies unread too, and its sender hears of it."""


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
    previews: bool
    stopped: Stopped | None
    sender_hash: bytes
    policy_name: str
    accepted_at: datetime
    expires_at: datetime
    remind_at: datetime | None
    warn_at: datetime | None
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
        return Progress(self.noticed_at, self.opened_at, self.replied_at, self.stopped)


def delivery(row: Row[Any]) -> Delivery:
    """A delivery out of a row with the columns of its table."""
    values = {name: getattr(row, name) for name in Delivery.__dataclass_fields__}
    values["state"], values["needs"] = DeliveryState(row.state), Assurance(row.needs)
    values["stopped"] = Stopped(row.stopped) if row.stopped else None
    return Delivery(**values)


# -- lists


async def one(tx: ReadTx, delivery_id: DeliveryId) -> Delivery | None:
    row = await tx.row(select(t).where(t.c.id == delivery_id))
    return delivery(row) if row else None


async def of_message(tx: ReadTx, message_id: MessageId) -> list[Delivery]:
    return [delivery(row) for row in await tx.rows(select(t).where(t.c.message_id == message_id).order_by(t.c.id))]


async def _some(tx: ReadTx, statement: Select[Any]) -> list[Delivery]:
    return [delivery(row) for row in await tx.rows(statement)]


async def past_their_end(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Deliveries that have not ended and whose time is up."""
    return await _some(
        tx, select(t).where(t.c.state.in_(_MORTAL), t.c.expires_at <= now).order_by(t.c.expires_at).limit(limit)
    )


async def to_remind(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Noticed, unread deliveries whose reminder is due."""
    unread = t.c.state == DeliveryState.NOTICED.value
    return await _some(tx, select(t).where(unread, t.c.remind_at <= now, t.c.expires_at > now).limit(limit))


async def past_retention(tx: ReadTx, now: datetime, limit: int, org_id: OrgId | None = None) -> list[Delivery]:
    """Deliveries not yet disposed of whose message need not be kept any longer, and that no hold keeps; the longest due first."""
    mine = () if org_id is None else (Apart(messages.c.org_id) == org_id,)
    return await _some(tx, _past_retention(now).where(*mine).order_by(messages.c.retain_until, t.c.id).limit(limit))


async def is_past_retention(tx: ReadTx, delivery_id: DeliveryId, now: datetime) -> bool:
    """The same of one. Asked in the transaction that destroys, after `holds.lock`."""
    return bool(await _some(tx, _past_retention(now).where(t.c.id == delivery_id)))


def _past_retention(now: datetime) -> Select[Any]:
    due = (messages.c.disposed_at.is_(None), messages.c.retain_until <= now, t.c.state != DeliveryState.DISPOSED.value)
    return select(t).join(messages, messages.c.id == t.c.message_id).where(*due, ~holds.on_delivery())


async def to_warn_of(tx: ReadTx, now: datetime, limit: int) -> list[Delivery]:
    """Unread deliveries, soon at their end, whose sender is to be told."""
    unread = t.c.state.in_([DeliveryState.HELD.value, DeliveryState.NOTICED.value, DeliveryState.UNSCANNED.value])
    return await _some(tx, select(t).where(unread, t.c.warn_at <= now, t.c.expires_at > now).limit(limit))


async def warned(tx: BookkeepingTx, delivery_id: DeliveryId) -> bool:
    """Says whether nobody else was faster."""
    return await tx.change(update(t).where(t.c.id == delivery_id, t.c.warn_at.is_not(None)).values(warn_at=None)) == 1


async def raise_class(tx: WriteTx[ClassRaised], delivery: Delivery, policy: Policy, needs: Assurance) -> bool:
    """Puts a delivery under another class, which may forbid previews. Its time and its state stay."""
    previews = delivery.previews and policy.previews
    return await _set(tx, delivery, policy_name=policy.name, needs=int(needs), previews=previews)


async def raise_message(tx: WriteTx[ClassRaised], message_id: MessageId, policy: Policy) -> None:
    """Its message comes under the new class."""
    await tx.change(update(messages).where(messages.c.id == message_id).values(policy_id=policy.id))


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


async def lock(tx: WriteTx[NoticeRequested], delivery_id: DeliveryId) -> None:
    """Who asks for a notice at the same moment waits (on SQLite writers do so anyway)."""
    await tx.row(select(t.c.id).where(t.c.id == delivery_id).with_for_update(key_share=True))


# -- changes: each asks for the transaction of its own event

Ends: TypeAlias = DeliveryExpired | DeliveryRevoked | DeliveryDisposed


async def _set(tx: BookkeepingTx, delivery: Delivery, **values: object) -> bool:
    """Changes a delivery that still has the state and the end it was read with; says whether it had."""
    stopped = t.c.stopped.is_not_distinct_from(delivery.stopped and delivery.stopped.value)
    same = (t.c.id == delivery.id, t.c.state == delivery.state.value, stopped, t.c.expires_at == delivery.expires_at)
    return await tx.change(update(t).where(*same).values(values)) == 1


async def end(tx: WriteTx[Ends], delivery: Delivery, state: DeliveryState, reason: str) -> bool:
    return await _set(tx, delivery, state=state.value, ended_at=tx.event.at, end_reason=reason)


async def quarantine(tx: WriteTx[DeliveryQuarantined], delivery: Delivery) -> bool:
    """Of the same message, what has ended is marked too: given back, it is quarantined."""
    marked = (t.c.message_id == delivery.message_id, t.c.id != delivery.id)
    await tx.change(update(t).where(*marked).values(stopped=Stopped.INFECTED.value))
    return await _set(tx, delivery, state=DeliveryState.QUARANTINED.value, stopped=Stopped.INFECTED.value)


async def release(tx: WriteTx[DeliveryReleased], delivery: Delivery, state: DeliveryState) -> bool:
    return await _set(tx, delivery, state=state.value, stopped=None)


async def bring_back(
    tx: WriteTx[DeliveryRestored | DeliveryExtended], delivery: Delivery, state: DeliveryState, expires_at: datetime
) -> bool:
    """A reminder that is still to come moves with the end; whoever asked for the message has been heard."""
    later = expires_at - delivery.expires_at
    remind_at = delivery.remind_at and delivery.remind_at + later
    # The sender is told anew, the day before: whoever extended may forget.
    warn_at = None if delivery.opened_at else (delivery.warn_at and delivery.warn_at + later) or expires_at - _DAY
    values = {
        "expires_at": expires_at,
        "remind_at": remind_at,
        "warn_at": warn_at,
        "ended_at": None,
        "end_reason": None,
        "asked_at": None,
    }
    return await _set(tx, delivery, state=state.value, **values)


async def graduate(tx: WriteTx[GraduationBegun], delivery_id: DeliveryId) -> bool:
    """Closes one that waits unread, that nobody is about to open and nothing but the mailbox guards; says whether it was so.

    Whoever opens, takes back or holds it at this moment is before it or after it: all of them change or find the same row.
    """
    at = tx.event.at
    waits = (
        t.c.id == delivery_id,
        t.c.state.in_([one.value for one in UNREAD]),
        t.c.opened_at.is_(None),
        t.c.stopped.is_(None),
        t.c.bounced_at.is_(None),
        # Its notice is not still to go out: it would be dropped, and nobody told should the message wait here again.
        t.c.noticed_at.is_not(None) | t.c.notice_failed_at.is_not(None),
        t.c.expires_at > at,
        t.c.needs == int(Assurance.MAILBOX),
    )
    its_codes = (codes.c.delivery_id == t.c.id, codes.c.expires_at > at)
    her_sessions = (sessions.c.recipient_id == t.c.recipient_id, sessions.c.ended_at.is_(None), sessions.c.ends_at > at)
    allows = select(policies.c.id).join(messages, messages.c.policy_id == policies.c.id)
    guarded = (
        exists(
            allows.where(messages.c.id == t.c.message_id, policies.c.graduate).correlate(t)
        ),  # raised since, perhaps
        ~holds.on_delivery(),
        ~exists(select(access_codes.c.delivery_id).where(access_codes.c.delivery_id == t.c.id).correlate(t)),
        ~exists(select(codes.c.id).where(*its_codes).correlate(t)),
        ~exists(select(sessions.c.token_hash).where(*her_sessions).correlate(t)),
    )
    values = {"state": DeliveryState.GRADUATED.value, "ended_at": at, "end_reason": "sent on to the mailbox"}
    return await tx.change(update(t).where(*waits, *guarded).values(values)) == 1


async def reopen(tx: WriteTx[GraduationFailed | GraduationReturned], delivery_id: DeliveryId) -> bool:
    """Lets one that had graduated be read as before; says whether it had, and nobody was faster."""
    known = await one(tx, delivery_id)
    state = after(known.state, Step.RESTORE, known.progress) if known else None
    if known is None or state is None or known.state is not DeliveryState.GRADUATED:
        return False
    return await _set(tx, known, state=state.value, ended_at=None, end_reason=None)


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
