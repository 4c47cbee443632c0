"""How a delivery ends, and comes back: expired by time or on purpose, revoked, restored, extended.

Whether a step is allowed from a state is decided in portal/model/message.py. Each change has its event; for one
recipient or, with several deliveries, for all.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from portal.clock import Source
from portal.db import deliveries
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.db.tx import WriteTx
from portal.model.errors import InputRefused
from portal.model.events import DeliveryExpired, DeliveryExtended, DeliveryRestored, DeliveryRevoked, Facts, Who
from portal.model.message import DeliveryState, Step, after

E = TypeVar("E", DeliveryExpired, DeliveryRevoked, DeliveryRestored, DeliveryExtended)


@dataclass(frozen=True)
class By:
    """Who acts, for the record."""

    who: Who
    actor: str


WORKER = By(Who.WORKER, "")


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
        reason = "time" if by is WORKER else "operator"
        return await self._change(event, lambda tx: deliveries.end(tx, delivery, DeliveryState.EXPIRED, reason))

    async def revoke(self, delivery: Delivery, by: By, reason: str) -> bool:
        """From the commit on nothing of it is released; downloads under way end within a second."""
        _allowed(delivery, Step.REVOKE)
        event = DeliveryRevoked(**self._facts(delivery, by), reason=reason[:200])
        return await self._change(event, lambda tx: deliveries.end(tx, delivery, DeliveryState.REVOKED, reason[:200]))

    async def restore(self, delivery: Delivery, by: By, reason: str) -> bool:
        """Gives a revoked delivery back, to where it had got to and with the end it had."""
        state = _allowed(delivery, Step.RESTORE)
        event = DeliveryRestored(**self._facts(delivery, by), reason=reason[:200])
        return await self._change(event, lambda tx: deliveries.bring_back(tx, delivery, state, delivery.expires_at))

    async def extend(self, delivery: Delivery, by: By, until: datetime) -> bool:
        """Lets a delivery be read until `until`, also one that has expired."""
        state = _allowed(delivery, Step.EXTEND)
        if until <= self._source.now():
            raise InputRefused("The new end must lie in the future.", "until")
        event = DeliveryExtended(**self._facts(delivery, by), until=until.isoformat())
        return await self._change(event, lambda tx: deliveries.bring_back(tx, delivery, state, until))

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
        return Facts(
            at=self._source.now(),
            who=by.who,
            actor=by.actor,
            org_id=delivery.org_id,
            message_id=delivery.message_id,
            delivery_id=delivery.id,
            session=None,
            origin=None,
        )


def _allowed(delivery: Delivery, step: Step) -> DeliveryState:
    state = after(delivery.state, step, delivery.progress)
    if state is None:
        raise InputRefused(f"A delivery that is {delivery.state} can't be changed by '{step}'.")
    return state
