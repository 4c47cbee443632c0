"""Sends a notice once more, when somebody asks for it: with a new link, and never twice within ten minutes."""

from collections.abc import Callable
from datetime import timedelta

from portal.clock import Source
from portal.db import orgs, outbox
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.model.errors import InputRefused
from portal.model.events import By, NoticeRequested
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
        if delivery.state not in READABLE or now >= delivery.expires_at:
            raise InputRefused(
                "It can't be read any more, so there is nothing to tell of. Extend it or give it back first."
            )
        async with self._db.read() as tx:
            sent = [one for one in await outbox.of_delivery(tx, delivery.id) if one.kind in _NOTICES]
            language = await orgs.language_of_message(tx, delivery.message_id)
        if any(now - (one.settled_at or one.made_at) < PAUSE or one.state == "queued" for one in sent):
            raise InputRefused("A notice is under way, or went out less than ten minutes ago. Wait a little.")
        if sum(now - one.made_at < timedelta(days=1) for one in sent) >= MOST_A_DAY:
            raise InputRefused("Five notices went out today. Reach the recipient another way.")
        links, job = await self._announcer.announce(delivery.org_id, delivery.id, MailKind.NOTICE, language, now)
        await self._db.note(*links)
        facts = by.facts(now, delivery.org_id, delivery.message_id, delivery.id)
        async with self._db.write(NoticeRequested(**facts)) as changed:
            await outbox.enqueue(changed, job)
        self._wake()
        return True


_NOTICES = (MailKind.NOTICE.value, MailKind.REMINDER.value)
