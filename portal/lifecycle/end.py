"""How a delivery ends, and comes back: expired by time or on purpose, revoked, restored, extended.

Whether a step is allowed from a state is decided in portal/model/message.py. Each change has its event; for one
recipient or, with several deliveries, for all.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from portal.clock import Source
from portal.db import deliveries, graduations, messages, outbox
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.db.tx import WriteTx
from portal.model.errors import InputRefused
from portal.model.events import By, DeliveryExpired, DeliveryExtended, DeliveryRestored, DeliveryRevoked, Facts, Who
from portal.model.mails import MailKind
from portal.model.message import DeliveryState, Step, after
from portal.model.policy import MOST_DAYS

_REFUSED = {
    Step.REVOKE: "It is taken back or destroyed already.",
    Step.RESTORE: "Only what was taken back, or sent on to the mailbox, can be given back.",
    Step.EXPIRE: "It has ended already.",
    Step.EXTEND: "What was taken back, quarantined or destroyed can't be extended.",
}
E = TypeVar("E", DeliveryExpired, DeliveryRevoked, DeliveryRestored, DeliveryExtended)


WORKER = By(Who.WORKER)


@dataclass(frozen=True)
class Outcome:
    """What came of an act on one delivery: `refused` is empty, or says why nothing was changed."""

    delivery: Delivery
    refused: str = ""


class Lifecycle:
    """See the module. What is not allowed from a delivery's state raises InputRefused; nothing has changed then."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    async def expire_due(self, limit: int = 200) -> int:
        """Ends the deliveries whose time is up; returns how many."""
        async with self._db.read() as tx:
            due = await deliveries.past_their_end(tx, self._source.now(), limit)
        for delivery in due:
            await self.expire(delivery, WORKER)
        return len(due)

    async def expire(self, delivery: Delivery, by: By) -> bool:
        _allowed(delivery, Step.EXPIRE)
        event = DeliveryExpired(**self._facts(delivery, by), unread=delivery.opened_at is None)
        reason = "time" if by is WORKER else by.who.value

        async def act(tx: WriteTx[DeliveryExpired]) -> bool:
            if event.unread and by is WORKER:  # whoever ends it by hand knows
                new_id, now = self._source.new_id(), event.at
                await outbox.enqueue(tx, outbox.job_for(new_id, delivery.org_id, MailKind.UNREAD, delivery.id, now))
            return await deliveries.end(tx, delivery, DeliveryState.EXPIRED, reason)

        return await self._change(event, act)

    async def revoke(self, delivery: Delivery, by: By, reason: str) -> bool:
        """From the commit on nothing of it is released; downloads under way end within a second."""
        _allowed(delivery, Step.REVOKE)
        event = DeliveryRevoked(**self._facts(delivery, by), reason=reason[:200])
        return await self._change(event, lambda tx: deliveries.end(tx, delivery, DeliveryState.REVOKED, reason[:200]))

    async def restore(self, delivery: Delivery, by: By, reason: str) -> bool:
        """Gives a delivery back that was revoked, or sent on and never came: to where it had got to and with the end it had."""
        state = _allowed(delivery, Step.RESTORE)
        if delivery.state is DeliveryState.GRADUATED:
            async with self._db.read() as tx:
                sent = (await graduations.of(tx, [delivery.id])).get(delivery.id)
            if sent is None or sent.gone_at is None:
                raise InputRefused("It is being sent on at this moment. Look again in some minutes.")
        event = DeliveryRestored(**self._facts(delivery, by), reason=reason[:200])
        return await self._change(event, lambda tx: deliveries.bring_back(tx, delivery, state, delivery.expires_at))

    async def extend(self, delivery: Delivery, by: By, until: datetime) -> bool:
        """Lets a delivery be read until `until`, also one that has expired."""
        state = _allowed(delivery, Step.EXTEND)
        if until <= self._source.now():
            raise InputRefused("The new end must lie in the future.", "until")
        if until > self._source.now() + timedelta(days=MOST_DAYS):
            raise InputRefused("That is too far away: ten years at most.", "until")
        event = DeliveryExtended(**self._facts(delivery, by), until=until.isoformat())

        async def act(tx: WriteTx[DeliveryExtended]) -> bool:
            await messages.keep_until(tx, delivery.message_id, until)
            return await deliveries.bring_back(tx, delivery, state, until)

        return await self._change(event, act)

    async def each(self, wanted: Sequence[Delivery], act: Callable[[Delivery], Awaitable[bool]]) -> list[Outcome]:
        """Does something to several deliveries, each by itself: what is refused for one is done for the others."""
        outcomes = []
        for one in wanted:
            try:
                done = await act(one) or await self._once_more(one, act)
                outcomes.append(Outcome(one, "" if done else "It changed meanwhile; look again."))
            except InputRefused as error:
                outcomes.append(Outcome(one, error.say))
        return outcomes

    async def _once_more(self, delivery: Delivery, act: Callable[[Delivery], Awaitable[bool]]) -> bool:
        """It changed between the look and the act (somebody opened it): acts on what it is now."""
        async with self._db.read() as tx:
            now = await deliveries.one(tx, delivery.id)
        return now is not None and await act(now)

    async def _change(self, event: E, act: Callable[[WriteTx[E]], Awaitable[bool]]) -> bool:
        """Says whether the delivery still was as it was looked at; if not, nothing is changed and nothing is on record."""
        try:
            async with self._db.write(event) as tx:
                if not await act(tx):
                    raise Stale("the delivery changed meanwhile")
        except Stale:
            return False
        return True

    def _facts(self, delivery: Delivery, by: By) -> Facts:
        return by.facts(self._source.now(), delivery.org_id, delivery.message_id, delivery.id)


def _allowed(delivery: Delivery, step: Step) -> DeliveryState:
    state = after(delivery.state, step, delivery.progress)
    if state is None and delivery.state is DeliveryState.GRADUATED:
        raise InputRefused("It was sent on to the recipient's own mailbox. It can only be given back here.")
    if state is None:
        raise InputRefused(_REFUSED.get(step, f"A delivery that is {delivery.state} can't be changed by '{step}'."))
    return state
