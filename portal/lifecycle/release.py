"""What became of a message that waited for a scan: it goes on, clean or on an admin's word, or it is quarantined for good.

Only from the release on is there a link, and a notice goes out.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from portal.clock import Source
from portal.db import deliveries, messages, orgs, outbox
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.db.tx import WriteTx
from portal.model.errors import InputRefused, StorageAway
from portal.model.events import By, DeliveryQuarantined, DeliveryReleased
from portal.model.ids import DeliveryId
from portal.model.mails import MailKind
from portal.model.message import Step, after
from portal.sealing.announce import Announcer

E = TypeVar("E", DeliveryReleased, DeliveryQuarantined)


class Release:
    """See the module. `wake` tells the worker of this process that a mail is queued."""

    def __init__(self, db: Database, announcer: Announcer, source: Source, wake: Callable[[], None]) -> None:
        self._db, self._announcer, self._source, self._wake = db, announcer, source, wake

    async def let_through(self, delivery: Delivery, by: By, reason: str, *, clean: bool = False) -> bool:
        """Lets it go on, unscanned or with `clean`; False where it changed meanwhile. Raises InputRefused."""
        now, state = self._source.now(), after(delivery.state, Step.RELEASE, delivery.progress)
        if state is None:
            raise InputRefused("It does not wait for the virus scanner.")
        if now >= delivery.expires_at:
            raise InputRefused("Its time is up. Give it more time first.")
        async with self._db.read() as tx:
            language = await orgs.language_of_message(tx, delivery.message_id)
        links, job = await self._announcer.announce(delivery.org_id, delivery.id, MailKind.NOTICE, language, now)
        await self._db.note(*links)
        scan = "clean" if clean else "unscanned"
        facts = by.facts(now, delivery.org_id, delivery.message_id, delivery.id)

        async def act(tx: WriteTx[DeliveryReleased]) -> bool:
            if clean:
                await messages.scanned(tx, delivery.message_id, scan, "")
            await outbox.enqueue(tx, job)
            return await deliveries.release(tx, delivery, state)

        done = await self._change(DeliveryReleased(**facts, scan=scan, reason=reason[:200]), act)
        self._wake()
        return done

    async def quarantine(self, delivery_id: DeliveryId, by: By, said: str) -> None:
        """As it stands now: somebody may be letting it through, or opening it, at this very moment."""
        for _ in range(10):
            async with self._db.read() as tx:
                one = await deliveries.one(tx, delivery_id)
            if one is None or after(one.state, Step.QUARANTINE, one.progress) is None:
                return
            if await self._quarantine(one, by, said):
                self._wake()
                return
        raise StorageAway("a delivery kept changing while it was quarantined")

    async def _quarantine(self, one: Delivery, by: By, said: str) -> bool:
        now = self._source.now()
        event = DeliveryQuarantined(**by.facts(now, one.org_id, one.message_id, one.id), said=said)

        async def act(tx: WriteTx[DeliveryQuarantined]) -> bool:
            await messages.scanned(tx, one.message_id, "infected", said)
            new_id = self._source.new_id()
            await outbox.enqueue(tx, outbox.job_for(new_id, one.org_id, MailKind.STOPPED, one.id, now))
            return await deliveries.quarantine(tx, one)

        return await self._change(event, act)

    async def _change(self, event: E, act: Callable[[WriteTx[E]], Awaitable[bool]]) -> bool:
        """Says whether the delivery still was as it was looked at; if not, nothing is changed and nothing is on record."""
        try:
            async with self._db.write(event) as tx:
                if not await act(tx):
                    raise Stale("the delivery changed meanwhile")
        except Stale:
            return False
        return True
