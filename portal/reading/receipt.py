"""Read receipts (RFC 8098): a sender asks for one, its class allows it, and the recipient sends it or leaves it. Once a delivery.

Nothing is told without her pressing the button, and the receipt goes to the message's sender alone.
"""

from collections.abc import Callable

from portal.clock import Source
from portal.db import outbox, reports
from portal.db.engine import Database, Duplicate
from portal.db.views import Stored
from portal.model.access import Access, Purpose, Reader, Target, facts, may_read
from portal.model.events import ReceiptGiven
from portal.model.mails import MailKind
from portal.model.message import DeliveryState
from portal.sealing.seal import Sealer

_SEEN = (DeliveryState.OPENED, DeliveryState.REPLIED)


class Receipts:
    """See the module. `wake` tells the worker of this process that a mail is queued."""

    def __init__(self, db: Database, sealer: Sealer, source: Source, wake: Callable[[], None]) -> None:
        self._db, self._sealer, self._source, self._wake = db, sealer, source, wake

    async def asked(self, target: Target) -> bool | None:
        """Whether a receipt is asked for and was not sent yet; None when none is asked for."""
        if not await reports.receipt_asked(self._db, target.message_id):
            return None
        async with self._db.read() as tx:
            return await outbox.by_return_hash(tx, self._mark(target)) is None

    async def give(self, reader: Reader, stored: Stored) -> bool:
        """Queues the receipt; False where none is asked for, it went already, or the message was not opened."""
        target, now = stored.target, self._source.now()
        allowed = isinstance(may_read(reader, target, Purpose.SUMMARY, now), Access) and target.state in _SEEN
        if not allowed or not await self.asked(target):
            return False
        job = outbox.job_for(
            self._source.new_id(),
            target.org_id,
            MailKind.RECEIPT,
            target.delivery_id,
            now,
            return_hash=self._mark(target),  # it has no return path: the column's uniqueness makes it one receipt
        )
        try:
            async with self._db.write(ReceiptGiven(**facts(reader, target, now))) as tx:
                await outbox.enqueue(tx, job)
        except Duplicate:
            return False
        self._wake()
        return True

    def _mark(self, target: Target) -> bytes:
        return self._sealer.index(target.org_id, "receipt", target.delivery_id)
