"""Holds: what must be kept whatever time says, until somebody releases it. They stop destruction; who may read stays as it is.

A hold has a reason, an owner and a day of review. It holds all that meets its criteria, also what comes in later.
"""

from datetime import date, datetime, timedelta

from portal.clock import Source
from portal.db import deliveries, holds, messages, orgs
from portal.db.engine import Database
from portal.db.holds import Criteria, Hold
from portal.db.tx import ReadTx
from portal.model.errors import InputRefused, NotFound
from portal.model.events import By, HoldPlaced, HoldReleased, ReportRead
from portal.model.ids import HoldId, MessageId, OrgId
from portal.model.message import DeliveryState
from portal.model.staff import check_reason

REVIEW_WITHIN = timedelta(days=366)
MOST = 1000
"""Holds in force that an organisation can have: each is asked about by disposition."""


def review_day(text: str, now: datetime) -> datetime:
    """The day of review, as a form gives it (ISO 8601). Raises InputRefused unless it lies ahead, within a year."""
    try:
        wanted = datetime.combine(date.fromisoformat(text.strip()), datetime.min.time(), now.tzinfo)
    except ValueError:
        raise InputRefused("Give the day of review as year-month-day, such as 2027-03-31.", "review") from None
    if not now < wanted <= now + REVIEW_WITHIN:
        raise InputRefused("The day of review must lie ahead, within a year.", "review")
    return wanted


class Holds:
    """See the module."""

    def __init__(self, db: Database, source: Source) -> None:
        self._db, self._source = db, source

    def made(self, org_id: OrgId, criteria: Criteria, reason: str, owner: str, review_at: datetime) -> Hold:
        """A hold that is about to be placed. Raises InputRefused."""
        if not criteria.named:
            raise InputRefused("A hold on everything is no hold: say what is to be kept.")
        owner = owner.strip()
        if not 1 <= len(owner) <= 64 or not owner.isprintable():
            raise InputRefused("Say who answers for the hold, in up to 64 characters.", "owner")
        reason = check_reason(reason, most=400)
        return Hold(HoldId(self._source.new_id()), org_id, reason, owner, review_at, self._source.now(), criteria)

    async def place(
        self, org_id: OrgId, criteria: Criteria, reason: str, owner: str, review_at: datetime, by: By
    ) -> Hold:
        """Raises InputRefused, also for a message that is destroyed already."""
        hold = self.made(org_id, criteria, reason, owner, review_at)
        async with self._db.read() as tx:
            in_force = [one for one in await holds.of_org(tx, org_id, MOST + 1) if one.released_at is None]
            classes = {one.name for one in await orgs.policies_in_force(tx, org_id)}
        if criteria.policy_name not in (None, *classes):
            raise InputRefused("There is no class of that name, so the hold would keep nothing.", "class")
        if len(in_force) >= MOST:
            raise InputRefused(f"There are {MOST} holds in force. Release one first.")
        event = HoldPlaced(
            **by.facts(hold.placed_at, org_id, criteria.message_id),
            hold=hold.id,
            criteria=criteria.named,
            owner=hold.owner,
            review=hold.review_at.date().isoformat(),
        )
        async with self._db.write(event) as changed:
            await holds.lock(changed, org_id)
            if criteria.message_id:
                await self.check_there(changed, org_id, criteria.message_id)
            await holds.place(changed, hold)
        return hold

    async def check_there(self, tx: ReadTx, org_id: OrgId, message_id: MessageId) -> None:
        """Raises NotFound and InputRefused. Asked in the transaction that places the hold, after `holds.lock`."""
        message = await messages.one(tx, message_id)
        if message is None or message.org_id != org_id:
            raise NotFound("no such message")
        left = [one for one in await deliveries.of_message(tx, message_id) if one.state is not DeliveryState.DISPOSED]
        if message.disposed_at or not left:
            raise InputRefused("This message is destroyed: there is nothing left to hold.")

    async def every(self, org_id: OrgId, by: By) -> list[Hold]:
        """Those in force first, the next to be reviewed first. The look is on record: it shows whose mail is held."""
        async with self._db.read() as tx:
            found = await holds.of_org(tx, org_id)
        await self._db.record(ReportRead(**by.facts(self._source.now(), org_id), report="holds", rows=len(found)))
        return found

    async def one(self, org_id: OrgId, hold_id: str, by: By) -> Hold:
        """Raises NotFound. The look is on record."""
        found = await self._there(org_id, hold_id)
        await self._db.record(ReportRead(**by.facts(self._source.now(), org_id), report="hold", rows=1))
        return found

    async def _there(self, org_id: OrgId, hold_id: str) -> Hold:
        async with self._db.read() as tx:
            found = await holds.one(tx, org_id, hold_id)
        if found is None:
            raise NotFound("no such hold")
        return found

    async def release(self, org_id: OrgId, hold_id: str, reason: str, by: By) -> None:
        """Raises NotFound, and InputRefused when it is released already or no reason is given."""
        reason = check_reason(reason, most=400)
        found = await self._there(org_id, hold_id)
        event = HoldReleased(
            **by.facts(self._source.now(), org_id, found.criteria.message_id), hold=found.id, reason=reason[:200]
        )
        async with self._db.write(event) as changed:
            if not await holds.release(changed, found.id, reason):
                raise InputRefused("This hold is released already.")
