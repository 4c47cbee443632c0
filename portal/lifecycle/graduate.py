"""Lets a message that waits unread go out by the relay, once its recipient's domain has become safe. The copy here is closed first.

Which deliveries these are, intake has decided: their class allows it, and nothing but the verdict brought them here. Their domain
must be safe twice, some hours apart, at the level `verify` and by no weaker a rule than the one that kept it: whoever can lie to us
once, or hide a domain's own policy, gains nothing. Then one statement closes the delivery, unless somebody opens it, takes it back or
holds it at that moment. Only then the worker opens the original and submits it, byte for byte, under its sender's address.

What the relay does not take waits here again at once. Where nobody knows whether it took it, it is tried again as replies are, with
the same Message-ID. What the relay brings back, intake knows (portal/intake/accept.py).
"""

import asyncio
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import deliveries, graduations, messages, orgs, outbox, routes
from portal.db.deliveries import Delivery
from portal.db.engine import Database, Stale
from portal.db.graduations import Row
from portal.db.orgs import Organisation
from portal.mail import Mailer, Submitted
from portal.model.assurance import Assurance
from portal.model.errors import NotFound, PortalError, SubmissionFailed
from portal.model.events import (
    By,
    GraduationBegun,
    GraduationFailed,
    GraduationOpened,
    MessageGraduated,
    Who,
)
from portal.model.ids import DeliveryId, JobId
from portal.model.mails import LEASE, MailKind
from portal.model.message import UNREAD, DeliveryState
from portal.model.parties import Address, address
from portal.model.routes import Level, Outcome, Route, Rule
from portal.sealing import Field, Kind
from portal.sealing.open import Fields, Opener
from portal.sealing.seal import Sealer
from portal.transport import Verdict, Verdicts

_WORKER = By(Who.WORKER)
_STRENGTH = {Rule.OPPORTUNISTIC: 0, Rule.MTA_STS: 1, Rule.DANE: 2}
_MOST_TRIES = 5
_AT_ONCE = 20


class Graduation:
    """See the module. `mailer` is the relay's way for such mail, and None where there is none: then nothing is looked at."""

    def __init__(
        self,
        db: Database,
        opener: Opener,
        fields: Fields,
        sealer: Sealer,
        verdicts: Verdicts,
        mailer: Mailer | None,
        source: Source,
        apart: timedelta,
    ) -> None:
        """`apart` is the time from one look at a domain to the next."""
        self._db, self._opener, self._fields, self._sealer = db, opener, fields, sealer
        self._verdicts, self._mailer, self._source, self._apart = verdicts, mailer, source, apart
        self._one_at_a_time = asyncio.Lock()  # a whole message is in memory while it is handed over

    # -- looking

    async def look_due(self, limit: int = _AT_ONCE) -> int:
        """Has the domains looked at whose time has come; returns how many deliveries that was about."""
        if self._mailer is None:
            return 0
        async with self._db.read() as tx:
            due = await graduations.due(tx, self._source.now(), limit)
        await asyncio.gather(*(self._looked(row) for row in due))
        return len(due)

    async def _looked(self, row: Row) -> None:
        try:
            await self._look(row)
        except PortalError:  # what can't be opened now keeps no other waiting
            await self._later(row, None, None)

    async def _look(self, row: Row) -> None:
        async with self._db.read() as tx:
            delivery = await deliveries.one(tx, row.delivery_id)
            same = await graduations.same_address(tx, row)
        over = (
            delivery is None or delivery.state not in UNREAD or delivery.opened_at or delivery.needs > Assurance.MAILBOX
        )
        if delivery is None or over or not same or row.tries >= _MOST_TRIES:
            async with self._db.bookkeeping() as changed:
                await graduations.looked(changed, row, None, None, None)
            return
        found = await self._found(delivery)
        safe = found is not None and self._is_safe(found, row)
        if found is None or not safe:
            await self._later(row, None, None)
        elif row.safe_at is None or row.safe_by is None or _STRENGTH[found.rule] < _STRENGTH[row.safe_by]:
            await self._later(row, found.at, found.rule)  # the first time, or no longer by what it was safe by
        elif found.at - row.safe_at >= self._apart:
            await self._begin(row, delivery, found, row.safe_at)
        else:
            await self._later(row, row.safe_at, row.safe_by)

    async def _later(self, row: Row, safe_at: datetime | None, safe_by: Rule | None) -> None:
        async with self._db.bookkeeping() as changed:
            await graduations.looked(changed, row, self._source.now() + self._apart, safe_at, safe_by)

    async def _found(self, delivery: Delivery) -> Verdict | None:
        """A fresh verdict; None where the organisation's list has a word to say."""
        recipient = await self._recipient(delivery.id)
        index = self._sealer.index
        by_address = index(delivery.org_id, "route address", str(recipient))
        by_domain = index(delivery.org_id, "route domain", recipient.domain)
        if await routes.listed(self._db, delivery.org_id, by_address, by_domain) in (Route.ALWAYS, Route.NEVER):
            return None
        return await self._verdicts.verdict(recipient.domain, Level.VERIFY, fresh=True)

    @staticmethod
    def _is_safe(found: Verdict, row: Row) -> bool:
        strength = _STRENGTH.get(found.rule, -1)
        return found.outcome is Outcome.DIRECT and strength >= _STRENGTH.get(row.came_by, 0)

    async def _begin(self, row: Row, delivery: Delivery, found: Verdict, safe_at: datetime) -> None:
        now, org_id = self._source.now(), delivery.org_id
        stands = f"{found.at:%Y-%m-%d %H:%M:%S} UTC, level {found.level}: {found.outcome} by {found.rule}"
        transcript = "\n".join([stands, *found.transcript])[:8000]
        field = await self._sealer.field(org_id, delivery.id, "graduation", transcript.encode())
        facts = _WORKER.facts(now, org_id, delivery.message_id, delivery.id)
        job = outbox.job_for(JobId(self._source.new_id()), org_id, MailKind.ONWARD, delivery.id, now)
        try:
            async with self._db.write(GraduationBegun(**facts, rule=found.rule, safe_since=safe_at.isoformat())) as tx:
                mine = await graduations.begun(tx, row, field.sealed, field.epoch_id)
                if not mine or not await deliveries.graduate(tx, delivery.id):
                    raise Stale("somebody was faster")
                await outbox.enqueue(tx, job)
        except Stale:  # opened, taken back, held, or about to be opened: looked at again in due time
            await self._later(row, row.safe_at, row.safe_by)

    # -- handing over

    async def hand_over(self, job: outbox.Job, organisation: Organisation) -> Submitted:
        """Opens the original, on record, and submits it. Raises SubmissionFailed, NotFound once it was given back."""
        if self._mailer is None:
            raise SubmissionFailed("no way through the relay is set", transient=False)
        delivery = await self._delivery(job)
        async with self._db.read() as tx:
            message = await messages.one(tx, delivery.message_id)
            row = (await graduations.of(tx, [delivery.id]))[delivery.id]
            same = await graduations.same_address(tx, row)
        if not same:  # nobody has looked at the other address's domain
            raise NotFound("the recipient's address is another by now")
        if message is None or message.blob_key is None:
            raise NotFound("the message is gone")
        field = Field(message.epoch_id, message.sender_sealed)
        sender = (await self._fields.open(message.org_id, message.id, "sender", field)).decode()
        owner = await orgs.owner_of_domain(self._db, address(sender).domain)
        if owner is None or owner.org_id != organisation.id:
            raise SubmissionFailed("the sender's domain is no longer the organisation's", transient=False)
        recipient = await self._recipient(delivery.id)
        event = GraduationOpened(**_WORKER.facts(self._source.now(), delivery.org_id, delivery.message_id, delivery.id))
        began = self._source.now()
        async with self._one_at_a_time:
            if self._source.now() - began > LEASE / 2:
                raise SubmissionFailed("others took too long", transient=True)  # or another worker might take it up too
            try:
                opened = await self._opener.for_graduation(event, delivery.recipient_id)
            except Stale:
                raise NotFound("it was given back meanwhile") from None
            stream = await opened.stream(Kind.ORIGINAL, message.blob_key)
            try:
                raw = b"".join([piece async for piece in stream])
            finally:
                stream.close()
            return await self._mailer.submit(sender, str(recipient), raw, original=True)

    async def handed_over(self, job: outbox.Job, submitted: Submitted) -> None:
        delivery = await self._delivery(job)
        host, tls, said = submitted.host, submitted.tls, submitted.reply
        facts = _WORKER.facts(self._source.now(), delivery.org_id, delivery.message_id, delivery.id)
        event = MessageGraduated(**facts, host=host, tls=tls, reply=said)
        async with self._db.write(event) as tx:
            await outbox.settle(tx, job, outbox.Settled("done", event.at, host, tls, said))
            await graduations.gone(tx, delivery.id)

    async def failed(self, job: outbox.Job, error: Exception) -> None:
        """It waits here again, unless it was given back before; the domain is looked at from the beginning."""
        delivery, now = await self._delivery(job), self._source.now()
        facts = _WORKER.facts(now, delivery.org_id, delivery.message_id, delivery.id)
        unclear = job.attempts > 0 or (isinstance(error, SubmissionFailed) and error.unclear)
        async with self._db.read() as tx:
            row = (await graduations.of(tx, [delivery.id]))[delivery.id]
        again = None if unclear or row.tries >= _MOST_TRIES else now + self._apart
        reason = str(error)[:200] or type(error).__name__
        reopened = delivery.state is DeliveryState.GRADUATED
        event = GraduationFailed(**facts, reason=reason, reopened=reopened, unclear=unclear)
        try:
            async with self._db.write(event) as tx:
                if not await outbox.settle(tx, job, outbox.Settled("failed", now, answer=reason)):
                    raise Stale("it is settled already")
                if reopened:
                    if not await deliveries.reopen(tx, delivery.id):
                        raise Stale("it changed meanwhile")
                    await graduations.failed(tx, delivery.id, again)
        except Stale:
            return

    @staticmethod
    def tries_again(job: outbox.Job, error: PortalError) -> bool:
        """Whether it stays closed for another try: only where it may be with the relay already."""
        maybe_there = isinstance(error, SubmissionFailed) and error.unclear
        return error.transient and (maybe_there or job.attempts > 0)

    async def _delivery(self, job: outbox.Job) -> Delivery:
        async with self._db.read() as tx:
            found = await deliveries.one(tx, job.delivery_id) if job.delivery_id else None
        if found is None:
            raise NotFound("no such delivery")
        return found

    async def _recipient(self, delivery_id: DeliveryId) -> Address:
        async with self._db.read() as tx:
            row = await deliveries.recipient_of(tx, delivery_id)
        if row is None:
            raise NotFound("no such recipient")
        field = Field(row.epoch_id, row.address_sealed)
        return address((await self._fields.open(row.org_id, row.id, "address", field)).decode())
