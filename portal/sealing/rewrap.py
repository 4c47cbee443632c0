"""Turns an organisation to a new KEK: every epoch key is unwrapped and wrapped again; no content is touched.

Each batch is a transaction with its event; after a crash it goes on with what is left.
"""

from portal.clock import Source
from portal.db import grants
from portal.db.engine import Database
from portal.db.grants import EpochRow
from portal.keys import Unwrapper, WrappedKey, Wrapper
from portal.model.events import EpochsRewrapped, Who
from portal.model.ids import KekId, OrgId

_BATCH = 100


async def rewrap(
    db: Database, wrapper: Wrapper, unwrapper: Unwrapper, source: Source, org_id: OrgId, kek_id: KekId, actor: str
) -> int:
    """Wraps all epochs of an organisation to its current KEK, `kek_id`; returns how many it turned."""
    turned = 0
    while True:
        async with db.read() as tx:
            behind = await grants.not_wrapped_to(tx, org_id, kek_id, _BATCH)
        if not behind:
            return turned
        rows = [await _turned(wrapper, unwrapper, row) for row in behind]
        event = EpochsRewrapped(
            at=source.now(), who=Who.OPERATOR, actor=actor, org_id=org_id, kek_id=kek_id, count=len(rows)
        )
        async with db.write(event) as changed:
            for row in rows:
                await grants.replace_wrap(changed, row)
        turned += len(rows)


async def _turned(wrapper: Wrapper, unwrapper: Unwrapper, row: EpochRow) -> EpochRow:
    key = await unwrapper.unwrap(row.org_id, row.id, WrappedKey(row.kek_id, row.suite, row.wrapped))
    wrapped = await wrapper.wrap(row.org_id, row.id, key)
    return EpochRow(row.id, row.org_id, wrapped.kek_id, wrapped.suite, wrapped.wrapped, row.made_at)
