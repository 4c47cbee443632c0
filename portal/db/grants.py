"""Epoch keys and grants: who could open what, as wrapped keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, select, update

from portal.db.hot import Hot, Statement
from portal.db.tables import epochs, grants, micros
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.events import DeliveryDisposed, EpochsRewrapped
from portal.model.ids import DeliveryId, EpochId, KekId, OrgId


@dataclass(frozen=True)
class EpochRow:
    """An epoch key, wrapped to a KEK."""

    id: EpochId
    org_id: OrgId
    kek_id: KekId
    suite: str
    wrapped: bytes
    made_at: datetime


_ADD_EPOCH = Hot(
    lambda insert: insert(epochs).values(
        {column: bindparam(column.name, type_=column.type) for column in epochs.columns}
    ),
    returns_rows=False,
)
_ADD_GRANT = Hot(
    lambda insert: insert(grants).values(
        {column: bindparam(column.name, type_=column.type) for column in grants.columns}
    ),
    returns_rows=False,
)
FOR_READER = Hot(
    lambda insert: select(grants.c.container_id, grants.c.epoch_id, grants.c.wrapped).where(
        grants.c.container_id == bindparam("container_id"),
        grants.c.reader == bindparam("reader"),
        grants.c.reader_id == bindparam("reader_id"),
    )
)
EPOCH = Hot(
    lambda insert: select(epochs.c.org_id, epochs.c.kek_id, epochs.c.suite, epochs.c.wrapped).where(
        epochs.c.id == bindparam("id")
    )
)


def add_epoch(row: EpochRow) -> Statement:
    values = {"id": row.id, "org_id": row.org_id, "kek_id": row.kek_id, "suite": row.suite, "wrapped": row.wrapped}
    return Statement(_ADD_EPOCH, {**values, "made_at": micros(row.made_at)})


def add_grant(
    container_id: str, reader: str, reader_id: str, org_id: OrgId, epoch_id: EpochId, wrapped: bytes
) -> Statement:
    values = {"container_id": container_id, "reader": reader, "reader_id": reader_id, "org_id": org_id}
    return Statement(_ADD_GRANT, {**values, "epoch_id": epoch_id, "wrapped": wrapped})


async def kek_ids(tx: ReadTx, org_id: OrgId) -> set[KekId]:
    """Every KEK that some epoch of the organisation is wrapped to."""
    rows = await tx.rows(select(epochs.c.kek_id).where(epochs.c.org_id == org_id).distinct())
    return {KekId(row.kek_id) for row in rows}


async def not_wrapped_to(tx: ReadTx, org_id: OrgId, kek_id: KekId, limit: int) -> list[EpochRow]:
    """Epochs that a rotation left behind, oldest first."""
    statement = (
        select(epochs).where(epochs.c.org_id == org_id, epochs.c.kek_id != kek_id).order_by(epochs.c.id).limit(limit)
    )
    return [
        EpochRow(row.id, row.org_id, row.kek_id, row.suite, row.wrapped, row.made_at)
        for row in await tx.rows(statement)
    ]


async def replace_wrap(tx: WriteTx[EpochsRewrapped], epoch: EpochRow) -> None:
    values = {"kek_id": epoch.kek_id, "suite": epoch.suite, "wrapped": epoch.wrapped}
    await tx.change(update(epochs).where(epochs.c.id == epoch.id).values(values))


async def destroy_for(tx: WriteTx[DeliveryDisposed], delivery_id: DeliveryId, reply_ids: Sequence[str]) -> None:
    """Deletes every grant of a delivery: of its message, of the replies to it and their attachments, also for handing over."""
    await tx.change(delete(grants).where(grants.c.reader == "delivery", grants.c.reader_id == delivery_id))
    await tx.change(delete(grants).where(grants.c.reader == "handover", grants.c.reader_id.in_(reply_ids)))


async def forget_unused_epochs(tx: BookkeepingTx, before: datetime) -> int:
    """Deletes epoch keys made before `before` under which nothing is sealed any more."""
    used = [
        exists().where(table.c.epoch_id == epochs.c.id)
        for name, table in epochs.metadata.tables.items()
        if name != "epochs" and "epoch_id" in table.c
    ]
    statement = delete(epochs).where(epochs.c.made_at < before, *(~one for one in used))
    return await tx.change(statement)
