"""Sends a notice once more, when somebody asks for it: with a new link, and never twice within ten minutes."""

from collections.abc import Callable
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import deliveries, orgs, outbox
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.tx import ReadTx
from portal.model.errors import InputRefused
from portal.model.events import By, NoticeRequested
from portal.model.ids import DeliveryId
from portal.model.mails import MailKind
from portal.model.message import READABLE
from portal.sealing.announce import Announcer

PAUSE = timedelta(minutes=10)
MOST_A_DAY = 5


class Resend:
    """See the module. `wake` tells the worker of this process that a mail is queued."""

    def __init__(self, db: Database, announcer: Announcer, source: Source, wake: Callable[[], None]) -> None:
        self._db, self._announcer, self._source, self._wake = db, announcer, source, wake

    async def send(self, delivery: Delivery, by: By) -> bool:
        """Queues it; False where the delivery or its notices changed meanwhile. Raises InputRefused."""
        now = self._source.now()
        if delivery.stopped:
            raise InputRefused("The virus scanner stopped it, so nobody is told of it.")
        if delivery.state not in READABLE or now >= delivery.expires_at:
            raise InputRefused(
                "It can't be read any more, so there is nothing to tell of. Extend it or give it back first."
            )
        async with self._db.read() as tx:
            await self._check(tx, delivery.id, now)
            language = await orgs.language_of_message(tx, delivery.message_id)
        links, job = await self._announcer.announce(delivery.org_id, delivery.id, MailKind.NOTICE, language, now)
        await self._db.note(*links)
        facts = by.facts(now, delivery.org_id, delivery.message_id, delivery.id)
        async with self._db.write(NoticeRequested(**facts)) as changed:
            await deliveries.lock(changed, delivery.id)
            await self._check(changed, delivery.id, now)
            await outbox.enqueue(changed, job)
        self._wake()
        return True

    async def _check(self, tx: ReadTx, delivery_id: DeliveryId, now: datetime) -> None:
        """Asked before anything is made, and again where it is queued: two may ask at once. Raises InputRefused."""
        sent = [one for one in await outbox.of_delivery(tx, delivery_id) if one.kind in _NOTICES]
        if any(now - (one.settled_at or one.made_at) < PAUSE or one.state == "queued" for one in sent):
            raise InputRefused("A notice is under way, or went out less than ten minutes ago. Wait a little.")
        if sum(now - one.made_at < timedelta(days=1) for one in sent) >= MOST_A_DAY:
            raise InputRefused("Five notices went out today. Reach the recipient another way.")


_NOTICES = (MailKind.NOTICE.value, MailKind.REMINDER.value)
