"""Tries at secrets that people have: a counter a secret, locked while it is raised, so that fifty at once count as fifty."""

from datetime import datetime

from sqlalchemy import select, update

from portal.db.tables import tries as t
from portal.db.tx import BookkeepingTx
from portal.model.codes import Tries


async def locked(tx: BookkeepingTx, key: bytes, now: datetime) -> Tries:
    """The counter of a secret, held until the transaction ends. `key` is a keyed hash of 32 bytes."""
    new = tx.insert(t).values(key=key, in_all=0, in_window=0, window_from=now)
    await tx.change(new.on_conflict_do_nothing(index_elements=[t.c.key]))
    row = await tx.row(select(t).where(t.c.key == key).with_for_update())
    assert row is not None
    return Tries(row.in_all, row.in_window, row.window_from, row.closed_until, row.disabled_at)


async def keep(tx: BookkeepingTx, key: bytes, counted: Tries) -> None:
    await tx.change(update(t).where(t.c.key == key).values(vars(counted)))


async def forget(tx: BookkeepingTx, key: bytes) -> None:
    """A success ends the run of failed tries (63B 3.2.2 counts consecutive ones); what is disabled stays so."""
    values = {"in_all": 0, "in_window": 0, "closed_until": None}
    await tx.change(update(t).where(t.c.key == key).values(values))
