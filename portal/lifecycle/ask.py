"""Ask the sender again: the way on from a message that has ended. Once a delivery; the sender gets a mail without content."""

from collections.abc import Callable
from datetime import datetime

from portal.clock import Source
from portal.db import deliveries, outbox
from portal.db.engine import Database
from portal.db.views import Stored
from portal.model.access import Reader, facts
from portal.model.events import AskedAgain
from portal.model.mails import MailKind


class Asking:
    """See the module. `wake` tells the worker of this process that a mail is queued."""

    def __init__(self, db: Database, source: Source, wake: Callable[[], None]) -> None:
        self._db, self._source, self._wake = db, source, wake

    async def ask(self, reader: Reader, stored: Stored) -> datetime:
        """Puts the request on record and tells the sender; gives when it was first asked."""
        if stored.asked_at is not None:
            return stored.asked_at
        now = self._source.now()
        target = stored.target
        job = outbox.job_for(self._source.new_id(), target.org_id, MailKind.ASKED, target.delivery_id, now)
        async with self._db.write(AskedAgain(**facts(reader, target, now))) as tx:
            if await deliveries.asked(tx, target.delivery_id):
                await outbox.enqueue(tx, job)
        self._wake()
        return now
