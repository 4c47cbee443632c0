"""Reminds who has been told and has not read, some days before the message's end. Once."""

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
            language = await orgs.language(self._db, delivery.org_id)
            links, job = await self._announcer.announce(delivery.org_id, delivery.id, MailKind.REMINDER, language, now)
            await self._db.note(*links)
            async with self._db.bookkeeping() as changed:
                if await deliveries.reminded(changed, delivery.id):
                    await outbox.enqueue(changed, job)
        return len(due)
