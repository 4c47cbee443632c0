"""Reminds who has been told and has not read, some days before the message's end; and tells its sender. Once each.

So no message dies unread without a human knowing: before the end the sender can still extend it, and after it hears that it ended.
"""

from portal.clock import Source
from portal.db import deliveries, orgs, outbox
from portal.db.engine import Database
from portal.model.mails import MailKind
from portal.sealing.announce import Announcer


class Reminders:
    """See the module. A reminder brings a link of its own: the first one's token is nowhere kept."""

    def __init__(self, db: Database, announcer: Announcer, source: Source) -> None:
        self._db, self._announcer, self._source = db, announcer, source

    async def queue_due(self, limit: int = 100) -> int:
        """Queues the reminders that are due; returns how many."""
        now = self._source.now()
        async with self._db.read() as tx:
            due = await deliveries.to_remind(tx, now, limit)
        for delivery in due:
            async with self._db.read() as tx:
                language = await orgs.language_of_message(tx, delivery.message_id)
            links, job = await self._announcer.announce(delivery.org_id, delivery.id, MailKind.REMINDER, language, now)
            await self._db.note(*links)
            async with self._db.bookkeeping() as changed:
                if await deliveries.reminded(changed, delivery.id):
                    await outbox.enqueue(changed, job)
        return len(due)

    async def warn_due(self, limit: int = 100) -> int:
        """Queues the mails to senders whose message will soon end unread; returns how many."""
        now = self._source.now()
        async with self._db.read() as tx:
            due = await deliveries.to_warn_of(tx, now, limit)
        for delivery in due:
            job = outbox.job_for(self._source.new_id(), delivery.org_id, MailKind.EXPIRING, delivery.id, now)
            async with self._db.bookkeeping() as changed:
                if await deliveries.warned(changed, delivery.id):
                    await outbox.enqueue(changed, job)
        return len(due)
