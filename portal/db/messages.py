"""Messages: one accepted mail, with the rows that belong to it from the first moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Table, bindparam, delete, exists, select, union, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import (
    deliveries,
    messages,
    micros,
    parts,
    received,
    recipients,
    renditions,
    replies,
    reply_files,
    reports,
)
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.events import (
    CertificateIssued,
    ClassRaised,
    DeliveryExtended,
    DeliveryQuarantined,
    DeliveryReleased,
    MessageDisposed,
)
from portal.model.ids import BlobKey, DeliveryId, EpochId, MessageId, OrgId, PartId, RecipientId
from portal.model.message import DeliveryState


def _add(table: Table) -> Hot:
    columns = {column: bindparam(column.name, type_=column.type) for column in table.columns}
    return Hot(lambda insert: insert(table).values(columns), returns_rows=False)


_ADD_MESSAGE, _ADD_DELIVERY, _ADD_RECEIVED, _ADD_RECIPIENT = map(_add, (messages, deliveries, received, recipients))
_ADD_PART = _add(parts)


def _row(table: Table, **values: Any) -> dict[str, Any]:
    """All columns of a table, those not named as None, times as integers."""
    row = dict.fromkeys((column.name for column in table.columns), None) | values
    return {name: micros(value) if isinstance(value, datetime) else value for name, value in row.items()}


def add_message(**values: Any) -> Statement:
    return Statement(_ADD_MESSAGE, _row(messages, **values))


def add_delivery(**values: Any) -> Statement:
    return Statement(_ADD_DELIVERY, _row(deliveries, **values))


def add_received(**values: Any) -> Statement:
    return Statement(_ADD_RECEIVED, _row(received, **values))


def add_recipient(**values: Any) -> Statement:
    return Statement(_ADD_RECIPIENT, _row(recipients, **values))


_RECIPIENT = Hot(
    lambda insert: select(recipients.c.id).where(
        recipients.c.org_id == bindparam("org_id"), recipients.c.address_hash == bindparam("address_hash")
    )
)
_RECEIVED = Hot(
    lambda insert: select(received.c.recipient_id, received.c.delivery_id).where(received.c.key == bindparam("key"))
)


async def recipient_id(db: Database, org_id: OrgId, address_hash: bytes) -> RecipientId | None:
    """Who has this address now. One that somebody had before is another's by now, as far as anybody here knows."""
    row = await db.row(_RECIPIENT, org_id=org_id, address_hash=address_hash)
    return RecipientId(row[0]) if row else None


async def received_by(db: Database, key: bytes) -> dict[RecipientId, DeliveryId]:
    """Who has had this very message before, by the key of its transaction."""
    return {RecipientId(row[0]): DeliveryId(row[1]) for row in await db.rows(_RECEIVED, key=key)}


# -- renditions and attachments

_KEEP_RENDITION = Hot(
    lambda insert: (
        statement := insert(renditions).values({c: bindparam(c.name, type_=c.type) for c in renditions.columns})
    ).on_conflict_do_update(
        index_elements=[renditions.c.message_id],
        set_={name: statement.excluded[name] for name in ("version", "sealed", "made_at")},
    ),
    returns_rows=False,
)
_COUNT_PARTS = Hot(
    lambda insert: update(messages).where(messages.c.id == bindparam("message")).values(attachments=bindparam("count")),
    returns_rows=False,
)
_FORGET_PARTS = Hot(lambda insert: delete(parts).where(parts.c.message_id == bindparam("message")), returns_rows=False)
_PART = Hot(
    lambda insert: select(parts.c.blob_key, parts.c.size).where(
        parts.c.message_id == bindparam("message"), parts.c.part_id == bindparam("part")
    )
)


@dataclass(frozen=True)
class PartRow:
    """An attachment's sealed blob; `size` counts plaintext bytes. What it is called, the rendition says."""

    id: PartId
    blob_key: BlobKey
    size: int


def keep_rendition(
    message_id: MessageId, org_id: OrgId, version: int, sealed: bytes, made_at: datetime, kept: list[PartRow]
) -> list[Statement]:
    """The rendition and its attachments, in the place of any earlier one's."""
    values = {
        "message_id": message_id,
        "org_id": org_id,
        "version": version,
        "sealed": sealed,
        "made_at": micros(made_at),
    }
    return [
        Statement(_FORGET_PARTS, {"message": message_id}),
        *(
            Statement(
                _ADD_PART,
                _row(parts, message_id=message_id, part_id=p.id, org_id=org_id, blob_key=p.blob_key, size=p.size),
            )
            for p in kept
        ),
        Statement(_KEEP_RENDITION, values),
        Statement(_COUNT_PARTS, {"message": message_id, "count": len(kept)}),
    ]


async def part(db: Database, message_id: MessageId, part_id: str) -> PartRow | None:
    row = await db.row(_PART, message=message_id, part=part_id)
    return PartRow(PartId(part_id), *row) if row else None


# -- looked at by operators, and the end


@dataclass(frozen=True)
class MessageRow:
    """A message's metadata; who sent it is sealed."""

    id: MessageId
    org_id: OrgId
    relay_id: str
    size: int
    blob_key: BlobKey | None
    sender_sealed: bytes
    epoch_id: EpochId
    attachments: int | None
    scan: str | None
    scan_said: str | None
    accepted_at: datetime
    retain_until: datetime
    disposed_at: datetime | None


def _message(row: Any) -> MessageRow:
    return MessageRow(**{name: getattr(row, name) for name in MessageRow.__dataclass_fields__})


async def one(tx: ReadTx, message_id: MessageId) -> MessageRow | None:
    row = await tx.row(select(messages).where(messages.c.id == message_id))
    return _message(row) if row else None


async def emptied(tx: ReadTx, limit: int) -> list[MessageRow]:
    """Messages of which every delivery is disposed, and whose content still lies there."""
    alive = exists().where(deliveries.c.message_id == messages.c.id, deliveries.c.state != DeliveryState.DISPOSED.value)
    statement = select(messages).where(messages.c.disposed_at.is_(None), ~alive).limit(limit)
    return [_message(row) for row in await tx.rows(statement)]


async def replies_to(tx: ReadTx, message_id: MessageId, delivery_id: DeliveryId | None = None) -> list[str]:
    """Ids of the replies to a message, or to one of its deliveries."""
    statement = select(replies.c.id).where(replies.c.message_id == message_id)
    if delivery_id:
        statement = statement.where(replies.c.delivery_id == delivery_id)
    return [row.id for row in await tx.rows(statement)]


async def blob_keys(tx: ReadTx, message_id: MessageId) -> list[BlobKey]:
    """Every blob of a message: the original, its attachments, and those of the replies to it."""
    found = [row.blob_key for row in await tx.rows(select(messages.c.blob_key).where(messages.c.id == message_id))]
    found += [row.blob_key for row in await tx.rows(select(parts.c.blob_key).where(parts.c.message_id == message_id))]
    sent = reply_files.c.reply_id.in_(await replies_to(tx, message_id))
    found += [row.blob_key for row in await tx.rows(select(reply_files.c.blob_key).where(sent))]
    return [BlobKey(key) for key in found if key]


async def forget_content(tx: WriteTx[MessageDisposed], message_id: MessageId) -> None:
    """Deletes what is sealed in rows; metadata stays."""
    sent = await replies_to(tx, message_id)
    await tx.change(delete(renditions).where(renditions.c.message_id == message_id))
    await tx.change(delete(parts).where(parts.c.message_id == message_id))
    await tx.change(delete(reports).where(reports.c.message_id == message_id))
    await tx.change(delete(reply_files).where(reply_files.c.reply_id.in_(sent)))
    await tx.change(update(replies).where(replies.c.message_id == message_id).values(text_sealed=None))
    values = {"heading_sealed": None, "blob_key": None, "disposed_at": tx.event.at, "uncertified_at": tx.event.at}
    await tx.change(update(messages).where(messages.c.id == message_id).values(values))


# -- those that wait for a scan


@dataclass(frozen=True)
class Waiting:
    """A message that waits for a scan, and how it could not be scanned last."""

    id: MessageId
    org_id: OrgId
    blob_key: BlobKey | None
    accepted_at: datetime
    rescan_at: datetime


async def to_rescan(tx: ReadTx, now: datetime, limit: int) -> list[Waiting]:
    """Messages whose next scan is due, the longest due first."""
    c = messages.c
    statement = select(c.id, c.org_id, c.blob_key, c.accepted_at, c.rescan_at)
    rows = await tx.rows(statement.where(c.rescan_at <= now).order_by(c.rescan_at).limit(limit))
    return [Waiting(row.id, row.org_id, row.blob_key, row.accepted_at, row.rescan_at) for row in rows]


async def rescan_later(tx: BookkeepingTx, waiting: Waiting, at: datetime | None, said: str | None = None) -> bool:
    """When it is scanned again, None for never; says whether nobody else was faster."""
    same = (messages.c.id == waiting.id, messages.c.rescan_at == waiting.rescan_at)
    values: dict[str, Any] = {"rescan_at": at} if said is None else {"rescan_at": at, "scan_said": said}
    return await tx.change(update(messages).where(*same).values(values)) == 1


async def scanned(
    tx: WriteTx[DeliveryQuarantined | DeliveryReleased], message_id: MessageId, scan: str, said: str
) -> None:
    """What the last scan found."""
    await tx.change(update(messages).where(messages.c.id == message_id).values(scan=scan, scan_said=said))


async def uncertified(tx: ReadTx, limit: int) -> list[MessageRow]:
    """Messages that were destroyed and of which no certificate says so yet, by organisation."""
    c = messages.c
    statement = select(messages).where(c.uncertified_at.is_not(None)).order_by(c.org_id, c.id).limit(limit)
    return [_message(row) for row in await tx.rows(statement)]


async def certified(tx: WriteTx[CertificateIssued], ids: list[MessageId]) -> int:
    """Says how many were uncertified still."""
    open_still = (messages.c.id.in_(ids), messages.c.uncertified_at.is_not(None))
    return await tx.change(update(messages).where(*open_still).values(uncertified_at=None))


async def keep_until(tx: WriteTx[DeliveryExtended | ClassRaised], message_id: MessageId, until: datetime) -> None:
    """What can be read until then is kept until then."""
    shorter = (messages.c.id == message_id, messages.c.retain_until < until)
    await tx.change(update(messages).where(*shorter).values(retain_until=until))


async def known_blobs(tx: ReadTx, keys: list[BlobKey]) -> set[BlobKey]:
    """Which of these blobs some row knows; the others are orphans of a crash."""
    known: set[BlobKey] = set()
    for table in (messages, parts, reply_files):
        known |= {row.blob_key for row in await tx.rows(select(table.c.blob_key).where(table.c.blob_key.in_(keys)))}
    return known


async def blobs_relied_on(tx: ReadTx, after: BlobKey | None, limit: int) -> list[BlobKey]:
    """A page of the blobs that rows rely on, of messages, their attachments and replies, for `portal doctor` to look for."""
    known = union(*(select(table.c.blob_key) for table in (messages, parts, reply_files))).subquery()
    statement = select(known.c.blob_key).where(known.c.blob_key.is_not(None)).order_by(known.c.blob_key).limit(limit)
    if after:
        statement = statement.where(known.c.blob_key > after)
    return [BlobKey(row.blob_key) for row in await tx.rows(statement)]


async def newest(tx: ReadTx) -> datetime | None:
    """When the last message was accepted."""
    row = await tx.row(select(messages.c.accepted_at).order_by(messages.c.id.desc()).limit(1))
    return row[0] if row else None
