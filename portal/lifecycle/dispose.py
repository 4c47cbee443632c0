"""The end of retention: every grant is destroyed, so that nobody can open the content again; then the content goes.

Grants first: a crash in between leaves sealed bytes that no key opens, and the next run deletes them. Also sweeps what a
crash at intake left behind: blobs that no row knows.
"""

from contextlib import suppress
from datetime import timedelta

from portal.blobs import BlobStore
from portal.clock import Source
from portal.db import deliveries, grants, limits, links, messages, replies
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.model.events import DeliveryDisposed, Facts, MessageDisposed, Who
from portal.model.ids import BlobKey, DeliveryId, MessageId, OrgId
from portal.model.message import DeliveryState

ORPHAN_AGE = timedelta(hours=24)
"""A blob that no row knows is an orphan after this; until then its message may still be on its way in."""
DRAFT_AGE = timedelta(days=2)
_BATCH = 200


class Disposition:
    """See the module. Holds no keys: destroying needs none."""

    def __init__(self, db: Database, blobs: BlobStore, source: Source) -> None:
        self._db, self._blobs, self._source = db, blobs, source

    async def due(self) -> list[Delivery]:
        """What `run` would dispose of now: the dry run."""
        async with self._db.read() as tx:
            return await deliveries.past_retention(tx, self._source.now(), 10_000)

    async def run(self, limit: int = _BATCH) -> int:
        """Disposes of what retention has released, and of content left over by a crash; returns how many messages."""
        async with self._db.read() as tx:
            due = await deliveries.past_retention(tx, self._source.now(), limit)
        for delivery in due:
            with suppress(Stale):
                await self._destroy(delivery)
        return await self._delete_emptied(limit)

    async def _destroy(self, delivery: Delivery) -> None:
        event = DeliveryDisposed(**self._facts(delivery.org_id, delivery.message_id, delivery.id), rule="retention")
        async with self._db.write(event) as tx:
            answers = await messages.replies_to(tx, delivery.message_id, delivery.id)
            await grants.destroy_for(tx, delivery.id, answers)
            if not await deliveries.end(tx, delivery, DeliveryState.DISPOSED, "retention"):
                raise Stale("the delivery changed meanwhile; the next run looks again")

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
            old = await replies.abandoned(tx, now - DRAFT_AGE, _BATCH)
        for draft in old:
            async with self._db.bookkeeping() as changed:
                await replies.forget_draft(changed, draft.id)
        async with self._db.bookkeeping() as changed:
            await links.forget_old_codes(changed, now - timedelta(days=2))
            await limits.forget_old(changed, now - timedelta(days=2))
            await grants.forget_unused_epochs(changed, now - timedelta(days=1))
        orphans = await self.orphans()
        for key in orphans:
            await self._blobs.delete(key)
        return len(orphans) + await self._blobs.sweep(now - ORPHAN_AGE)

    async def orphans(self) -> list[BlobKey]:
        """Blobs older than a day that no row knows."""
        before = self._source.now() - ORPHAN_AGE
        found: list[BlobKey] = []
        page: list[BlobKey] = []
        async for key, made_at in self._blobs.list():
            if made_at < before:
                page.append(key)
            if len(page) == _BATCH:
                found += await self._unknown(page)
                page = []
        return found + await self._unknown(page)

    async def _unknown(self, keys: list[BlobKey]) -> list[BlobKey]:
        async with self._db.read() as tx:
            known = await messages.known_blobs(tx, keys)
        return [key for key in keys if key not in known]

    def _facts(self, org_id: OrgId, message_id: MessageId, delivery_id: DeliveryId | None) -> Facts:
        return Facts(
            at=self._source.now(),
            who=Who.WORKER,
            actor="",
            org_id=org_id,
            message_id=message_id,
            delivery_id=delivery_id,
            session=None,
            origin=None,
        )
