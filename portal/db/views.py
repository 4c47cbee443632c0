"""What is shown of deliveries: one that is opened, and an inbox. All of it hot.

A view is a change whose statement must find the delivery readable: what ended meanwhile is not on record as seen.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import bindparam, case, func, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import deliveries as t
from portal.db.tables import instant, messages, micros, renditions
from portal.db.tx import Change
from portal.model.access import Target
from portal.model.assurance import Assurance
from portal.model.events import AttachmentOpened, MessageOpened, OriginalDownloaded
from portal.model.ids import BlobKey, DeliveryId, OrgId, RecipientId
from portal.model.message import READABLE, DeliveryState

Released: TypeAlias = MessageOpened | AttachmentOpened | OriginalDownloaded
_READABLE = sorted(state.value for state in READABLE)


@dataclass(frozen=True)
class Stored:
    """All of a delivery that opening it needs, in one look-up."""

    target: Target
    reply_allowed: bool
    previews: bool
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
            t.c.previews,
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
        previews,
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
    return Stored(
        target, bool(reply), bool(previews), instant(accepted), asked_at, heading, blob, size, version, sealed
    )


async def still_readable(db: Database, delivery_id: DeliveryId, now: datetime) -> bool:
    """Whether a download that is under way may go on."""
    row = await db.row(_STATE, id=delivery_id)
    return row is not None and row[0] in READABLE and micros(now) < row[1]


@dataclass(frozen=True)
class Searched:
    """What a search needs of a delivery; `sealed` is None when there is no rendition, or one that is too large."""

    state: DeliveryState
    expires_at: datetime
    version: int | None
    sealed: bytes | None


_SEARCHED = Hot(
    lambda insert: (
        select(
            t.c.state,
            t.c.expires_at,
            renditions.c.version,
            case((func.length(renditions.c.sealed) <= bindparam("most"), renditions.c.sealed)),
        )
        .outerjoin(renditions, renditions.c.message_id == t.c.message_id)
        .where(t.c.id == bindparam("id"))
    )
)


async def searched(db: Database, delivery_id: DeliveryId, most_bytes: int) -> Searched | None:
    row = await db.row(_SEARCHED, id=delivery_id, most=most_bytes)
    return Searched(DeliveryState(row[0]), instant(row[1]), row[2], row[3]) if row else None


def opened(event: Released, target: Target) -> Change[Released]:
    """A view: left out (Stale) when the delivery has ended meanwhile."""
    values = {"delivery": target.delivery_id, "now": micros(event.at)}
    first = target.state in (DeliveryState.HELD, DeliveryState.NOTICED)
    return Change(event, (Statement(_FIRST_OPEN if first else _CHECK, values, must_hit=True),))


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
            t.c.stopped.is_(None),  # nobody is told of what the scanner stopped
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
