"""Replies: what recipients write back. The text and each attachment is a container of its own, with its own grants."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select, update

from portal.db import holds
from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import deliveries, grants, instant, replies, reply_files
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.errors import NoLongerReadable
from portal.model.events import ReplyFailed, ReplyHandedOver, ReplySubmitted
from portal.model.ids import BlobKey, DeliveryId, EpochId, MessageId, OrgId, RecipientId, ReplyId
from portal.model.message import READABLE, SEEN

_READABLE = {state.value for state in READABLE}
_SEEN = {state.value for state in SEEN}
HANDOVER = "handover"
"""The reader of grants for handing a reply over (`sealing.GrantFor`)."""


@dataclass(frozen=True)
class Reply:
    """A reply; `state` is `draft`, `queued`, `handed-over` or `failed`."""

    id: ReplyId
    org_id: OrgId
    message_id: MessageId
    delivery_id: DeliveryId
    state: str
    text_sealed: bytes | None
    size: int
    begun_at: datetime
    changed_at: datetime
    submitted_at: datetime | None = None
    settled_at: datetime | None = None
    version: str | None = None
    """Of a draft's text: another one at each save, None before the first."""
    left_out: int = 0
    """How many of those besides the sender did not get it."""
    fresh: bool = False
    """No reply, but a message of its own to the organisation; the delivery is what it is kept beside."""


@dataclass(frozen=True)
class ReplyFile:
    """An attachment of a reply; `id` is also its container. Its name, type and hash are the sealed label."""

    id: str
    org_id: OrgId
    reply_id: ReplyId
    blob_key: BlobKey
    size: int
    label_sealed: bytes
    epoch_id: EpochId
    made_at: datetime


_OF_DELIVERY = Hot(
    lambda insert: (
        select(*(replies.c[name] for name in Reply.__dataclass_fields__))
        .where(replies.c.delivery_id == bindparam("delivery"), replies.c.state != "draft")
        .order_by(replies.c.id)
    )
)


async def of_delivery(db: Database, delivery_id: DeliveryId) -> list[Reply]:
    """What was sent in answer to a delivery, oldest first."""
    found = []
    for row in await db.rows(_OF_DELIVERY, delivery=delivery_id):
        values = dict(zip(Reply.__dataclass_fields__, row, strict=True))
        times = {
            name: instant(values[name])
            for name in ("begun_at", "changed_at", "submitted_at", "settled_at")
            if values[name] is not None
        }
        found.append(Reply(**(values | times)))
    return found


async def one(tx: ReadTx, reply_id: ReplyId) -> Reply | None:
    row = await tx.row(select(replies).where(replies.c.id == reply_id))
    return Reply(**{name: getattr(row, name) for name in Reply.__dataclass_fields__}) if row else None


_DRAFTS = Hot(
    lambda insert: (
        select(replies.c.id, replies.c.begun_at)
        .where(replies.c.delivery_id == bindparam("delivery"), replies.c.state == "draft", ~replies.c.fresh)
        .order_by(replies.c.changed_at.desc())
    )
)


async def unsent(db: Database, delivery_id: DeliveryId) -> list[tuple[ReplyId, datetime]]:
    """The drafts of a delivery and when each was begun, the one last changed first."""
    return [(ReplyId(row[0]), instant(row[1])) for row in await db.rows(_DRAFTS, delivery=delivery_id)]


async def place(tx: ReadTx, org_id: OrgId, recipient_id: RecipientId, now: datetime) -> DeliveryId | None:
    """Beside which of her deliveries a new message of a person is kept: the newest that she has opened, can read and may answer."""
    d = deliveries.c
    hers = (d.recipient_id == recipient_id, d.org_id == org_id, d.state.in_(_SEEN), d.expires_at > now, d.reply_allowed)
    row = await tx.row(select(d.id).where(*hers).order_by(d.id.desc()).limit(1))
    return DeliveryId(row.id) if row else None


async def fresh(tx: ReadTx, org_id: OrgId, recipient_id: RecipientId, now: datetime, limit: int) -> list[Reply]:
    """A person's own new messages, beside what she can read still: those begun, which are found nowhere else, then those sent; the
    newest first."""
    d = deliveries.c
    hers = (d.recipient_id == recipient_id, d.org_id == org_id, d.state.in_(_READABLE), d.expires_at > now)
    statement = select(replies).join(deliveries, d.id == replies.c.delivery_id).where(*hers, replies.c.fresh)
    rows = await tx.rows(statement.order_by(replies.c.state != "draft", replies.c.begun_at.desc()).limit(limit))
    return [Reply(**{name: getattr(row, name) for name in Reply.__dataclass_fields__}) for row in rows]


async def sent_since(tx: ReadTx, recipient_id: RecipientId, since: datetime) -> list[datetime]:
    """When a person sent what she sent since, replies and new messages, the oldest first."""
    statement = select(replies.c.submitted_at).join(deliveries, deliveries.c.id == replies.c.delivery_id)
    hers = (deliveries.c.recipient_id == recipient_id, replies.c.submitted_at > since)
    return [row.submitted_at for row in await tx.rows(statement.where(*hers).order_by(replies.c.submitted_at))]


async def drafts(tx: ReadTx, delivery_id: DeliveryId) -> set[ReplyId]:
    """The replies to a delivery that are begun and not sent."""
    statement = select(replies.c.id).where(replies.c.delivery_id == delivery_id, replies.c.state == "draft")
    return {row.id for row in await tx.rows(statement)}


async def hold(tx: BookkeepingTx, draft: Reply, now: datetime) -> Reply | None:
    """Keeps a draft, and which drafts its delivery has, as they are until the transaction ends; None when it is not begun.

    The delivery first, then the draft: whoever takes both takes them in this order. Raises NoLongerReadable once the delivery
    is over: nothing is sealed for it that its end would not destroy.
    """
    # Only its key is kept (FOR NO KEY UPDATE): rows that refer to the delivery wait for nobody.
    of = select(deliveries.c.state, deliveries.c.expires_at).where(deliveries.c.id == draft.delivery_id)
    row = await tx.row(of.with_for_update(key_share=True))
    if row is None or row.state not in _READABLE or row.expires_at <= now:
        raise NoLongerReadable("it ended while the reply was being written")
    await hold_draft(tx, draft.id)
    return await one(tx, draft.id)


async def begin(tx: BookkeepingTx, reply: Reply) -> bool:
    """Says whether the id was free."""
    new = tx.insert(replies).values(vars(reply))
    return await tx.change(new.on_conflict_do_nothing(index_elements=[replies.c.id])) == 1


async def hold_draft(tx: BookkeepingTx, reply_id: ReplyId) -> bool:
    """Keeps a draft as it is until the transaction ends; says whether it still is one."""
    statement = select(replies.c.state).where(replies.c.id == reply_id).with_for_update()
    row = await tx.row(statement)
    return row is not None and row.state == "draft"


async def save(
    tx: BookkeepingTx,
    held: Reply,
    version: str,
    sealed: bytes | None,
    allowed: list[Statement],
    now: datetime,
    *,
    fresh: bool = False,
) -> None:
    """Puts what is typed, with the grant that opens it, in the place of what was typed before. A draft of nothing is none.

    Raises Duplicate, at the end of the transaction, when the draft was given the id of something else that is sealed.
    """
    await _forget_text(tx, held)
    if sealed is not None:
        await tx.change(insert(grants), [statement.values for statement in allowed])
    values = {"text_sealed": sealed, "version": version, "changed_at": now, "fresh": fresh}
    await tx.change(update(replies).where(replies.c.id == held.id, replies.c.state == "draft").values(values))
    await _drop_empty(tx, held.id)


async def _forget_text(tx: BookkeepingTx, draft: Reply) -> None:
    """Deletes the grant of the text that was saved, if one was: a draft's id is chosen by who writes it, and under one that
    is something else's nothing could be saved."""
    own = (grants.c.container_id == draft.id, grants.c.reader_id == draft.delivery_id)
    if draft.version:
        await tx.change(delete(grants).where(*own))


async def add_file(tx: BookkeepingTx, file: ReplyFile, allowed: list[Statement]) -> None:
    """Adds an attachment with its grants to a draft."""
    await tx.change(update(replies).where(replies.c.id == file.reply_id).values(changed_at=file.made_at))
    await tx.change(insert(reply_files).values(vars(file)))
    await tx.change(insert(grants), [statement.values for statement in allowed])


async def relabel(tx: BookkeepingTx, file: ReplyFile) -> None:
    """Puts another label on an attachment, unless it was taken away meanwhile."""
    values = {"label_sealed": file.label_sealed, "epoch_id": file.epoch_id}
    await tx.change(update(reply_files).where(reply_files.c.id == file.id).values(values))


async def files(tx: ReadTx, reply_id: ReplyId) -> list[ReplyFile]:
    rows = await tx.rows(select(reply_files).where(reply_files.c.reply_id == reply_id).order_by(reply_files.c.id))
    return [ReplyFile(**{name: getattr(row, name) for name in ReplyFile.__dataclass_fields__}) for row in rows]


async def remove_file(tx: BookkeepingTx, file: ReplyFile) -> None:
    """Takes an attachment out of a draft; one that has none left, and no text, is no draft any more."""
    await tx.change(delete(grants).where(grants.c.container_id == file.id))
    await tx.change(delete(reply_files).where(reply_files.c.id == file.id))
    await _drop_empty(tx, file.reply_id)


async def submit(
    tx: WriteTx[ReplySubmitted], held: Reply, text_sealed: bytes, size: int, allowed: list[Statement]
) -> bool:
    """Turns a draft into a reply on its way; says whether it still was a draft. What was saved of it opens no more."""
    await _forget_text(tx, held)
    await tx.change(insert(grants), [statement.values for statement in allowed])
    values = {"state": "queued", "text_sealed": text_sealed, "size": size, "submitted_at": tx.event.at}
    values["fresh"] = tx.event.fresh
    mine = (replies.c.id == held.id, replies.c.state == "draft")
    return await tx.change(update(replies).where(*mine).values(values)) == 1


async def settle(tx: WriteTx[ReplyHandedOver | ReplyFailed], reply_id: ReplyId, state: str, left_out: int = 0) -> None:
    """The sender has it, or never will; either way nobody need open it for handing over again."""
    values = {"state": state, "settled_at": tx.event.at, "left_out": left_out}
    await tx.change(update(replies).where(replies.c.id == reply_id).values(values))
    # The kind of reader too: a reply's id is chosen by who writes it, and could be named like another's delivery.
    await tx.change(delete(grants).where(grants.c.reader == HANDOVER, grants.c.reader_id == reply_id))


async def abandoned(tx: ReadTx, before: datetime, limit: int) -> list[Reply]:
    """Drafts last changed before `before` and never sent; a hold keeps them too."""
    statement = select(replies).join(deliveries, deliveries.c.id == replies.c.delivery_id)
    statement = statement.where(replies.c.state == "draft", replies.c.changed_at < before, ~holds.on_delivery()).limit(
        limit
    )
    return [
        Reply(**{name: getattr(row, name) for name in Reply.__dataclass_fields__}) for row in await tx.rows(statement)
    ]


async def forget_draft(tx: BookkeepingTx, reply_id: ReplyId, before: datetime | None = None) -> list[BlobKey]:
    """Text, files and grants, unless it was sent meanwhile, or changed since `before`. Returns the blobs that nothing needs now."""
    if not await hold_draft(tx, reply_id):
        return []
    draft, found = await one(tx, reply_id), await files(tx, reply_id)
    assert draft is not None
    if before is not None and draft.changed_at >= before:
        return []
    await _forget_text(tx, draft)
    await tx.change(delete(grants).where(grants.c.container_id.in_([file.id for file in found])))
    await tx.change(delete(reply_files).where(reply_files.c.reply_id == reply_id))
    await tx.change(delete(replies).where(replies.c.id == reply_id))
    return [file.blob_key for file in found]


async def _drop_empty(tx: BookkeepingTx, reply_id: ReplyId) -> None:
    empty = (replies.c.id == reply_id, replies.c.state == "draft", replies.c.text_sealed.is_(None))
    if not await files(tx, reply_id):
        await tx.change(delete(replies).where(*empty))
