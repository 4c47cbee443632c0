"""The worker's loops: outgoing mail, expiry and reminders, scans that failed, graduation, disposition.

Each turn claims, acts, settles. A turn that fails is logged and comes again; a job whose worker dies comes back when its lease
runs out. On a stop the mails in flight are finished and the other leases released.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from portal.clock import Source
from portal.db import orgs, outbox
from portal.db.engine import Database
from portal.db.orgs import Organisation
from portal.lifecycle.dispose import Disposition
from portal.lifecycle.end import Lifecycle
from portal.lifecycle.graduate import Graduation
from portal.lifecycle.rescan import Rescan
from portal.mail import Submitted
from portal.model.errors import ContentDamaged, NotFound, PortalError, SubmissionFailed
from portal.model.mails import LEASE, MailKind, wait_before
from portal.notify.dispatch import Dispatch, NotNeeded
from portal.notify.news import News
from portal.notify.reminders import Reminders
from portal.reply.handover import Handover
from portal.signin.recovery import HelpDesk

_AT_ONCE = 8
_ONCE = (MailKind.NOTICE, MailKind.REMINDER, MailKind.ONWARD)
_LOOK_EVERY = 2.0
_DAILY_LIFE = 30.0
_RESCAN_EVERY = 20.0
_GRADUATE_EVERY = 60.0
_DISPOSE_EVERY = 600.0


class Worker:
    """See the module. `wake` may be called by anyone in the process when something is due."""

    def __init__(
        self,
        db: Database,
        dispatch: Dispatch,
        handover: Handover,
        reminders: Reminders,
        lifecycle: Lifecycle,
        disposition: Disposition,
        desk: HelpDesk,
        news: News,
        rescan: Rescan,
        graduation: Graduation,
        source: Source,
        wakes: asyncio.Event,
    ) -> None:
        self._db, self._dispatch, self._handover = db, dispatch, handover
        self._reminders, self._lifecycle, self._disposition, self._desk = reminders, lifecycle, disposition, desk
        self._news, self._rescan, self._graduation = news, rescan, graduation
        self._source, self._wakes = source, wakes
        self._holder = source.new_id()
        self._stopping = asyncio.Event()
        self._log = structlog.get_logger("worker")

    async def run(self) -> None:
        """Works until `stop` is called."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mails())
            group.create_task(self._every(_DAILY_LIFE, self._daily_life))
            group.create_task(self._every(_RESCAN_EVERY, self._rescan.run))
            group.create_task(self._every(_GRADUATE_EVERY, self._graduation.look_due))
            group.create_task(self._every(_DISPOSE_EVERY, self._dispose))

    def stop(self) -> None:
        self._stopping.set()
        self._wakes.set()

    async def send_due(self) -> int:
        """One turn: claims what is due and sends it; returns how many jobs were taken up."""
        now = self._source.now()
        async with self._db.bookkeeping() as tx:
            jobs = await outbox.claim(tx, self._holder, now, now + LEASE, _AT_ONCE)
        await asyncio.gather(*(self._one(job) for job in jobs))
        return len(jobs)

    async def _mails(self) -> None:
        while not self._stopping.is_set():
            self._wakes.clear()
            taken = await self._turn(self.send_due)
            if not taken:
                await _first(self._wakes, _LOOK_EVERY)
        async with self._db.bookkeeping() as tx:
            await outbox.release(tx, self._holder)

    async def _one(self, job: outbox.Job) -> None:
        try:
            async with self._db.read() as tx:
                organisation = await orgs.by_id(tx, job.org_id)
            if organisation is None:
                raise NotFound(f"job {job.id} names no organisation")
            submitted = await self._send(job, organisation)
        except NotNeeded:
            await self._dispatch.drop(job)
        except PortalError as error:
            await self._not_sent(job, error)
        except Exception as error:  # a mail that can't be built: it must not keep the others from going out
            self._log.error("mail not built", job=job.id, kind=job.kind, error=type(error).__name__, exc_info=error)
            await self._not_sent(job, PortalError(f"the mail can't be built: {type(error).__name__}"))
        else:
            # Should this fail, the lease brings the job back: what was taken is not sent again within it.
            await self._sent(job, submitted)

    async def _send(self, job: outbox.Job, organisation: Organisation) -> Submitted:
        if job.kind == MailKind.REPLY:
            return await self._handover.hand_over(job, organisation)
        if job.kind == MailKind.ONWARD:
            return await self._graduation.hand_over(job, organisation)
        return await self._dispatch.send(job, organisation)

    async def _sent(self, job: outbox.Job, submitted: Submitted) -> None:
        if job.kind == MailKind.REPLY:
            await self._handover.handed_over(job, submitted)
        elif job.kind == MailKind.ONWARD:
            await self._graduation.handed_over(job, submitted)
        else:
            await self._dispatch.sent(job, submitted)

    async def _not_sent(self, job: outbox.Job, error: PortalError) -> None:
        now = self._source.now()
        attempt = job.attempts + 1
        permanent = isinstance(error, (SubmissionFailed, ContentDamaged, NotFound)) and not error.transient
        self._log.warning("mail not sent", job=job.id, kind=job.kind, attempt=attempt, error=type(error).__name__)
        onward = job.kind == MailKind.ONWARD
        if permanent or now >= job.give_up_at or (onward and not self._graduation.tries_again(job, error)):
            if job.kind == MailKind.REPLY:
                await self._handover.failed(job, error)
            elif onward:
                await self._graduation.failed(job, error)
            else:
                await self._dispatch.failed(job, str(error))
            return
        due_at = now + wait_before(attempt, random.random())  # noqa: S311 - spreads tries, guards nothing
        if isinstance(error, SubmissionFailed) and error.unclear and job.kind in _ONCE:
            due_at = max(due_at, now + LEASE)  # it may be there: nobody is notified twice within the lease
        async with self._db.bookkeeping() as tx:
            await outbox.put_back(tx, job, min(due_at, job.give_up_at), str(error))

    async def _daily_life(self) -> int:
        told = await self._reminders.queue_due() + await self._reminders.warn_due() + await self._news.queue_due()
        return told + await self._lifecycle.expire_due() + await self._desk.apply_due()

    async def _dispose(self) -> int:
        return await self._disposition.run() + await self._disposition.sweep()

    async def _every(self, seconds: float, turn: Callable[[], Awaitable[int]]) -> None:
        while not self._stopping.is_set():
            await self._turn(turn)
            await _first(self._stopping, seconds)

    async def _turn(self, turn: Callable[[], Awaitable[int]]) -> int:
        try:
            return await turn()
        except PortalError as error:
            self._log.error("turn failed", turn=turn.__name__, error=type(error).__name__, said=str(error))
            await _first(self._stopping, timedelta(seconds=5).total_seconds())
            return 0


async def _first(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
