"""The end of retention: every grant is destroyed, so that nobody can open the content again; then the content goes.

Grants first: a crash in between leaves sealed bytes that no key opens, and the next run deletes them. Also sweeps what a
crash at intake left behind: blobs that no row knows.
"""

from contextlib import suppress
from datetime import datetime, timedelta

from portal.blobs import BlobStore
from portal.clock import Source
from portal.db import deliveries, grants, holds, limits, links, messages, replies, staff
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.lifecycle.certify import Certificates
from portal.lifecycle.end import WORKER
from portal.model.events import By, DeliveryDisposed, Facts, MessageDisposed, ReportRead
from portal.model.ids import BlobKey, DeliveryId, MessageId, OrgId
from portal.model.message import DeliveryState
from portal.model.reply import DRAFT_LIFE

ORPHAN_AGE = timedelta(hours=24)
"""A blob that no row knows is an orphan after this; until then its message may still be on its way in."""
_BATCH = 200


class Disposition:
    """See the module. Holds no key that opens: destroying needs none."""

    def __init__(self, db: Database, blobs: BlobStore, source: Source, certificates: Certificates) -> None:
        self._db, self._blobs, self._source, self._certificates = db, blobs, source, certificates

    async def due(self, org_id: OrgId | None = None, limit: int = 10_000) -> list[Delivery]:
        """What `run` would destroy now: the dry run."""
        async with self._db.read() as tx:
            return await deliveries.past_retention(tx, self._source.now(), limit, org_id)

    async def dry_run(self, org_id: OrgId, by: By, limit: int = 200) -> list[Delivery]:
        """What would go, for somebody who looks: on record."""
        found = await self.due(org_id, limit)
        await self._db.record(ReportRead(**by.facts(self._source.now(), org_id), report="disposition", rows=len(found)))
        return found

    async def run(self, limit: int = _BATCH, org_id: OrgId | None = None) -> int:
        """Destroys what retention has released and no hold keeps, and what a crash left over; certifies it. Returns how many
        messages."""
        async with self._db.read() as tx:
            due = await deliveries.past_retention(tx, self._source.now(), limit, org_id)
        for delivery in due:
            with suppress(Stale):
                await self._destroy(delivery)
        count = await self._delete_emptied(limit)
        await self._certificates.issue()
        return count

    async def _destroy(self, delivery: Delivery) -> None:
        event = DeliveryDisposed(**self._facts(delivery.org_id, delivery.message_id, delivery.id), rule="retention")
        async with self._db.write(event) as tx:
            await holds.lock(tx, delivery.org_id)
            if not await deliveries.is_past_retention(tx, delivery.id, event.at):
                raise Stale("a hold was placed meanwhile, or the message is to be kept longer")
            unneeded = []
            for draft in await replies.drafts(tx, delivery.id):
                unneeded += await replies.forget_draft(tx, draft)
            answers = await messages.replies_to(tx, delivery.message_id, delivery.id)
            await grants.destroy_for(tx, delivery.id, answers)
            if not await deliveries.end(tx, delivery, DeliveryState.DISPOSED, "retention"):
                raise Stale("the delivery changed meanwhile; the next run looks again")
        for key in unneeded:  # should this be cut off, they are orphans
            await self._blobs.delete(key)

    async def _delete_emptied(self, limit: int) -> int:
        async with self._db.read() as tx:
            emptied = await messages.emptied(tx, limit)
        for message in emptied:
            async with self._db.read() as tx:
                keys = await messages.blob_keys(tx, message.id)
            for key in keys:
                await self._blobs.delete(key)
            event = MessageDisposed(**self._facts(message.org_id, message.id, None), blobs=len(keys))
            async with self._db.write(event) as changed:
                await messages.forget_content(changed, message.id)
        return len(emptied)

    async def sweep(self) -> int:
        """Deletes orphan blobs, abandoned drafts, lapsed codes and counters, and epoch keys that open nothing any more."""
        now = self._source.now()
        async with self._db.read() as tx:
            old = await replies.abandoned(tx, now - DRAFT_LIFE, _BATCH)
        for draft in old:
            async with self._db.bookkeeping() as changed:
                unneeded = await replies.forget_draft(changed, draft.id, now - DRAFT_LIFE)
            for key in unneeded:
                await self._blobs.delete(key)
        async with self._db.bookkeeping() as changed:
            await links.forget_old_codes(changed, now - timedelta(days=2))
            await limits.forget_old(changed, now - timedelta(days=2))
            await staff.forget_old(changed, now - timedelta(days=2))
            await grants.forget_unused_epochs(changed, now - timedelta(days=1))
        lost = await orphans(self._db, self._blobs, now)
        for key in lost:
            await self._blobs.delete(key)
        return len(lost) + await self._blobs.sweep(now - ORPHAN_AGE)

    def _facts(self, org_id: OrgId, message_id: MessageId, delivery_id: DeliveryId | None) -> Facts:
        return WORKER.facts(self._source.now(), org_id, message_id, delivery_id)


async def orphans(db: Database, blobs: BlobStore, now: datetime) -> list[BlobKey]:
    """Blobs older than a day that no row knows."""
    found: list[BlobKey] = []
    page: list[BlobKey] = []
    async for key, made_at in blobs.list():
        if made_at < now - ORPHAN_AGE:
            page.append(key)
        if len(page) == _BATCH:
            found += await _unknown(db, page)
            page = []
    return found + await _unknown(db, page)


async def _unknown(db: Database, keys: list[BlobKey]) -> list[BlobKey]:
    async with db.read() as tx:
        known = await messages.known_blobs(tx, keys)
    return [key for key in keys if key not in known]
