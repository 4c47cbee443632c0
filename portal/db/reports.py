"""What the sender of each message wants to hear of it, sealed; in clear only whether it is anything beyond failures."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import reports as t
from portal.db.tx import ReadTx
from portal.model.ids import EpochId, MessageId

_ADD = Hot(
    lambda insert: insert(t).values({column: bindparam(column.name, type_=column.type) for column in t.columns}),
    returns_rows=False,
)
_RECEIPT = Hot(lambda insert: select(t.c.receipt).where(t.c.message_id == bindparam("message")))


@dataclass(frozen=True)
class Kept:
    """`success`: some recipient's success is to be told; `receipt`: the sender asks for one and the class allows it."""

    success: bool
    receipt: bool
    sealed: bytes
    epoch_id: EpochId


def add(**values: Any) -> Statement:
    return Statement(_ADD, values)


async def of_message(tx: ReadTx, message_id: MessageId) -> Kept | None:
    row = await tx.row(select(t).where(t.c.message_id == message_id))
    return Kept(bool(row.success), bool(row.receipt), row.sealed, row.epoch_id) if row else None


async def receipt_asked(db: Database, message_id: MessageId) -> bool:
    """Whether a recipient may be asked for a receipt."""
    row = await db.row(_RECEIPT, message=message_id)
    return bool(row and row[0])
