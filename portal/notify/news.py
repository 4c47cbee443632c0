"""Tells senders who want it what happened to their messages: at once (within minutes), or once a day. Without a word of content."""

from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import outbox, overview, staff
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.overview import Line, Wanted
from portal.db.staff import Member
from portal.model.ids import JobId
from portal.model.mails import MailKind
from portal.model.message import DeliveryState
from portal.model.notice import NewsPayload
from portal.model.parties import address
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer

DAILY = timedelta(days=1)
AT_ONCE = timedelta(minutes=2)
_LOOK_BACK = timedelta(days=90)
_MOST_LINES = 100


class News:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source) -> None:
        self._db, self._sealer, self._fields, self._source = db, sealer, fields, source

    async def queue_due(self, limit: int = 100) -> int:
        """Queues the mails that are due; returns how many."""
        now = self._source.now()
        async with self._db.read() as tx:
            due = await staff.wanting_news(tx, now - DAILY, now - AT_ONCE, limit)
        queued = 0
        for member in due:
            queued += await self._tell(member, now)
        return queued

    async def _tell(self, member: Member, now: datetime) -> bool:
        since = member.news_at or now
        wanted = Wanted(accepted_from=now - _LOOK_BACK)
        async with self._db.read() as tx:
            lines = await overview.changed_since(tx, member.org_id, member.address_hash, wanted, since, _MOST_LINES)
        said = [
            (what, at.isoformat(), str(one.delivery.message_id), await self._hidden(one))
            for one in lines
            for what, at in _happened(one.delivery, since, now)
        ]
        job = await self._job(member, said, now) if said else None
        async with self._db.bookkeeping() as changed:
            if not await staff.told_news(changed, member, now):
                return False
            if job:
                await outbox.enqueue(changed, job)
        return job is not None

    async def _job(self, member: Member, said: list[tuple[str, str, str, str]], now: datetime) -> outbox.Job:
        own = await self._fields.open(member.org_id, member.id, "staff", Field(member.epoch_id, member.address_sealed))
        job_id = JobId(self._source.new_id())
        payload = NewsPayload(own.decode(), tuple(sorted(said, key=lambda line: line[1])[:_MOST_LINES]))
        field = await self._sealer.field(member.org_id, job_id, MailKind.NEWS.value, payload.dump())
        return outbox.job_for(
            job_id,
            member.org_id,
            MailKind.NEWS,
            None,
            now,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
        )

    async def _hidden(self, line: Line) -> str:
        one, field = line.delivery, Field(line.recipient_epoch, line.recipient_sealed)
        to = await self._fields.open(one.org_id, one.recipient_id, "address", field)
        return address(to.decode()).partly_hidden()


def _happened(one: Delivery, since: datetime, now: datetime) -> list[tuple[str, datetime]]:
    """What happened to a delivery after `since`, in words of the template."""
    moments = {
        "held": one.accepted_at,
        "noticed": one.noticed_at,
        "opened": one.opened_at,
        "replied": one.replied_at,
        "bounced": one.bounced_at,
        "not-noticed": one.notice_failed_at,
        "asked": one.asked_at,
        "graduated" if one.state is DeliveryState.GRADUATED else "ended": one.ended_at,
    }
    return [(what, at) for what, at in moments.items() if at and since < at <= now]
