"""The floor of a thread: the assurance below which nothing that belongs to it is opened, found by keyed hashes of message ids."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, case, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Insert, Statement
from portal.db.tables import deliveries, messages, micros, replies, threads
from portal.db.tx import WriteTx
from portal.model.assurance import Assurance
from portal.model.events import ClassRaised
from portal.model.ids import MessageId, OrgId, ReplyId


def _keep(insert: Insert) -> Any:
    new = insert(threads).values({column: bindparam(column.name, type_=column.type) for column in threads.columns})
    higher = case((threads.c.floor > new.excluded.floor, threads.c.floor), else_=new.excluded.floor)
    return new.on_conflict_do_update(index_elements=[threads.c.org_id, threads.c.id_hash], set_={"floor": higher})


_KEEP = Hot(_keep, returns_rows=False)
_FLOOR = Hot(
    lambda insert: select(threads.c.floor).where(
        threads.c.org_id == bindparam("org_id"), threads.c.id_hash == bindparam("id_hash")
    )
)
_OF_REPLY = Hot(
    lambda insert: (
        select(deliveries.c.needs)
        .join(replies, replies.c.delivery_id == deliveries.c.id)
        .where(replies.c.org_id == bindparam("org_id"), replies.c.id == bindparam("reply_id"))
    )
)


def keep(org_id: OrgId, id_hash: bytes, floor: Assurance, at: datetime) -> Statement:
    """A message's floor, for what answers it. A higher one that is known stays."""
    return Statement(_KEEP, {"org_id": org_id, "id_hash": id_hash, "floor": int(floor), "made_at": micros(at)})


async def lift(tx: WriteTx[ClassRaised], org_id: OrgId, message_id: MessageId, floor: Assurance) -> None:
    """What answers this message needs at least this much from now on. Messages taken in before their thread was noted keep theirs."""
    found = select(messages.c.thread_hash).where(messages.c.id == message_id).scalar_subquery()
    where = (threads.c.org_id == org_id, threads.c.id_hash == found, threads.c.floor < int(floor))
    await tx.change(update(threads).where(*where).values(floor=int(floor)))


async def floor(db: Database, org_id: OrgId, id_hashes: Sequence[bytes], reply_ids: Sequence[ReplyId]) -> Assurance:
    """The highest floor of the messages and replies that a new one answers; the mailbox's level when none is known."""
    rows = [await db.row(_FLOOR, org_id=org_id, id_hash=one) for one in id_hashes]
    rows += [await db.row(_OF_REPLY, org_id=org_id, reply_id=one) for one in reply_ids]
    return Assurance(max((row[0] for row in rows if row), default=int(Assurance.MAILBOX)))
