"""A message went to the wrong person: one act takes it back from everybody and keeps it, with all that is known, as evidence."""

from contextlib import suppress
from datetime import timedelta

from portal.clock import Source
from portal.db import deliveries, holds
from portal.db.engine import Database, Stale
from portal.db.holds import Criteria, Hold
from portal.db.tx import ReadTx
from portal.lifecycle.hold import Holds
from portal.model.errors import InputRefused, NotFound, StorageAway
from portal.model.events import By, DeliveryRevoked, MessageMisdirected
from portal.model.ids import DeliveryId, MessageId, OrgId
from portal.model.message import DeliveryState, Step, after
from portal.model.staff import check_reason

REVIEW_IN = timedelta(days=60)
"""HIPAA gives 60 days to notify of a breach (45 CFR 164.404(b)); the hold is looked at again by then."""

_MARK = "misdirected: "


class Misdirected:
    """See the module."""

    def __init__(self, db: Database, source: Source, made: Holds) -> None:
        self._db, self._source, self._holds = db, source, made

    async def act(self, org_id: OrgId, message_id: MessageId, reason: str, owner: str, by: By) -> Hold:
        """Holds the message, then takes back every delivery; done again, the hold in force counts. Raises InputRefused, NotFound."""
        reason, now = check_reason(reason), self._source.now()
        async with self._db.read() as tx:
            every = [one for one in await deliveries.of_message(tx, message_id) if one.org_id == org_id]
            standing = await self._standing(tx, message_id)
        if not every:
            raise NotFound("no such message")
        if all(one.state is DeliveryState.DISPOSED for one in every):
            raise InputRefused("This message is destroyed: there is nothing left to take back.")
        hold = self._holds.made(org_id, Criteria(message_id), f"{_MARK}{reason}"[:400], owner, now + REVIEW_IN)
        hold = standing or hold
        opened = tuple(one.id for one in every if one.opened_at)
        event = MessageMisdirected(**by.facts(now, org_id, message_id), reason=reason, hold=hold.id, opened=opened)
        async with self._db.write(event) as changed:
            await holds.lock(changed, org_id)
            await self._holds.check_there(changed, org_id, message_id)
            if await self._standing(changed, message_id) != standing:
                raise InputRefused("Somebody else holds or releases this message at this very moment. Look again.")
            if standing is None:
                await holds.place(changed, hold)
        # Each delivery has its own event, as ever; the hold stands before the first of them.
        for one in every:
            await self._revoke(one.id, f"{_MARK}{reason}"[:200], by)
        return hold

    async def frozen(self, message_id: MessageId) -> bool:
        """Whether the message was said to have gone to the wrong person, and the hold of that is in force."""
        async with self._db.read() as tx:
            return await self._standing(tx, message_id) is not None

    async def _standing(self, tx: ReadTx, message_id: MessageId) -> Hold | None:
        """The hold of an earlier press, while it is in force."""
        found = await holds.of_message(tx, message_id)
        mine = (one for one in found if one.criteria == Criteria(message_id) and one.reason.startswith(_MARK))
        return next(mine, None)

    async def _revoke(self, delivery_id: DeliveryId, reason: str, by: By) -> None:
        """As it stands now: somebody may be opening it at this very moment."""
        for _ in range(10):
            async with self._db.read() as tx:
                one = await deliveries.one(tx, delivery_id)
            if one is None or after(one.state, Step.REVOKE, one.progress) is None:
                return
            facts = by.facts(self._source.now(), one.org_id, one.message_id, one.id)
            with suppress(Stale):
                async with self._db.write(DeliveryRevoked(**facts, reason=reason)) as changed:
                    if not await deliveries.end(changed, one, DeliveryState.REVOKED, reason):
                        raise Stale("the delivery changed meanwhile")
                return
        raise StorageAway("a delivery kept changing while it was taken back")
