"""Sends what the outbox says of a delivery: notices, reminders, codes, and news to its sender.

Each try ends in a settled job or one put back; a worker that dies leaves it to the lease. Nobody is told of a delivery
that has ended meanwhile.
"""

from dataclasses import dataclass
from datetime import datetime

from portal.clock import Source
from portal.db import deliveries, given, messages, orgs, outbox, reports
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.orgs import Organisation
from portal.mail import Mailer, Submitted
from portal.model.errors import NotFound
from portal.model.events import (
    CodeFailed,
    CodeSent,
    Facts,
    NoticeFailed,
    NoticeSent,
    PersonNotTold,
    PersonTold,
    SenderNotTold,
    SenderTold,
    Who,
)
from portal.model.ids import JobId
from portal.model.links import reply_token
from portal.model.mails import MailKind
from portal.model.message import READABLE, DeliveryState
from portal.model.notice import STAFF_PASSKEY, ChangePayload, CodePayload, NewsPayload, NoticePayload, StaffCodePayload
from portal.model.reports import ReportsAsked
from portal.notify.dsn import OUTCOMES, delivery_report, read_receipt
from portal.notify.notice import (
    Letters,
    Told,
    letter_to_sender,
    mail_of_change,
    mail_of_news,
    mail_that_points,
    mail_with_code,
    mail_with_link,
    mail_with_staff_code,
)
from portal.phone import Channel, Spoken, Texter
from portal.sealing import Field
from portal.sealing.open import Fields


class NotNeeded(Exception):
    """The delivery ended, or is gone: nobody is told of it any more."""


@dataclass(frozen=True)
class _Ready:
    """A mail as it goes to the submission host."""

    mail_from: str
    rcpt_to: str
    raw: bytes
    tls_all_the_way: bool = False
    """The class allows no hop whose TLS nobody verified (REQUIRETLS, RFC 8689)."""


class Dispatch:
    """See the module. Holds the small fields' opener, and no way to content."""

    def __init__(
        self,
        db: Database,
        fields: Fields,
        letters: Letters,
        mailer: Mailer,
        source: Source,
        *,
        base_url: str,
        console_url: str,
        return_domain: str,
        texter: Texter | None = None,
    ) -> None:
        self._db, self._fields, self._letters, self._mailer, self._source = db, fields, letters, mailer, source
        self._base_url, self._console_url = base_url, console_url
        self._domain, self._texter = return_domain, texter

    async def send(self, job: outbox.Job, organisation: Organisation) -> Submitted:
        """Raises NotNeeded, SubmissionFailed, KeysAway."""
        if job.kind == MailKind.TEXT:
            return await self._text(job, organisation, await self._delivery(job))
        mail = await self._mail(MailKind(job.kind), job, organisation)
        return await self._mailer.submit(mail.mail_from, mail.rcpt_to, mail.raw, tls_all_the_way=mail.tls_all_the_way)

    async def _delivery(self, job: outbox.Job) -> Delivery:
        """Raises NotFound."""
        async with self._db.read() as tx:
            delivery = await deliveries.one(tx, job.delivery_id) if job.delivery_id else None
        if delivery is None:
            raise NotFound(f"job {job.id} names no delivery")
        return delivery

    async def _mail(self, kind: MailKind, job: outbox.Job, organisation: Organisation) -> _Ready:
        now = self._source.now()
        if kind is MailKind.CHANGED:
            return await self._changed(job, organisation, now)
        if kind is MailKind.STAFF_CODE:
            return await self._staff_code(job, organisation, now)
        if kind is MailKind.NEWS:
            news = NewsPayload.load(await self._payload(job))
            told = self._told(organisation, organisation.language, news.to, now, job.id)
            return _Ready("", news.to, mail_of_news(self._letters, told, news, self._console_url))
        delivery = await self._delivery(job)
        if kind in (MailKind.NOTICE, MailKind.REMINDER):
            if delivery.state not in READABLE or now >= delivery.expires_at:
                raise NotNeeded
            if kind is MailKind.REMINDER and delivery.opened_at:
                raise NotNeeded
            payload = NoticePayload.load(await self._payload(job))
            to = await self._recipient(delivery)
            told = self._told(organisation, payload.language, to, now, job.id, payload.return_token)
            raw = mail_with_link(self._letters, told, kind.value, payload, delivery.expires_at)
            async with self._db.read() as tx:
                unverified = await orgs.unverified_notice(tx, delivery.message_id)
            return _Ready(f"bounce+{payload.return_token}@{self._domain}", to, raw, not unverified)
        if kind is MailKind.CODE:
            if now >= job.give_up_at:  # after a long stop: its time is over, and nobody waits for it
                raise NotNeeded
            code = CodePayload.load(await self._payload(job))
            to = await self._recipient(delivery)
            told = self._told(organisation, code.language, to, now, job.id, code.return_token)
            raw = mail_with_code(self._letters, told, code)
            return _Ready(f"bounce+{code.return_token}@{self._domain}", to, raw)
        if kind is MailKind.POINTER:
            async with self._db.read() as tx:
                language = await orgs.language_of_message(tx, delivery.message_id)
            to, token = await self._recipient(delivery), (await self._payload(job)).decode()
            told = self._told(organisation, language, to, now, job.id, token)
            raw = mail_that_points(self._letters, told, f"<{job.subject_id}@{self._domain}>")
            return _Ready(f"bounce+{token}@{self._domain}", to, raw)
        return await self._to_sender(kind, job, organisation, delivery, now)

    async def _changed(self, job: outbox.Job, organisation: Organisation, now: datetime) -> _Ready:
        """News for a person, or a member of the staff, about her own ways in, at one of her addresses."""
        payload = ChangePayload.load(await self._payload(job))
        language = payload.language or organisation.language
        told = self._told(organisation, language, payload.to, now, job.id)
        front_url = self._console_url if payload.about == STAFF_PASSKEY else f"{told.base_url}/"
        raw = mail_of_change(self._letters, told, payload, job.made_at, front_url)
        return _Ready(f"bounce+{payload.return_token}@{self._domain}", payload.to, raw)

    async def _staff_code(self, job: outbox.Job, organisation: Organisation, now: datetime) -> _Ready:
        if now >= job.give_up_at:
            raise NotNeeded
        payload = StaffCodePayload.load(await self._payload(job))
        told = self._told(organisation, organisation.language, payload.to, now, job.id)
        raw = mail_with_staff_code(self._letters, told, payload, self._console_url)
        return _Ready(f"bounce+{payload.return_token}@{self._domain}", payload.to, raw)

    async def _text(self, job: outbox.Job, organisation: Organisation, delivery: Delivery) -> Submitted:
        """A code by SMS or call. Raises SubmissionFailed, NotNeeded."""
        if self._texter is None:
            raise NotFound("this portal sends no texts")
        if self._source.now() >= job.give_up_at:
            raise NotNeeded
        payload = CodePayload.load(await self._payload(job))
        async with self._db.read() as tx:
            phone = await given.phone(tx, delivery.recipient_id)
        if phone is None:
            raise NotFound("the recipient has no phone number any more")
        field = Field(phone.epoch_id, phone.number_sealed)
        number = (await self._fields.open(phone.org_id, phone.recipient_id, "phone", field)).decode()
        context = {"org": organisation, "code": payload.code, "code_reference": payload.reference, "minutes": 10}
        text = self._letters.line(f"code_{payload.channel}", payload.language, context)
        sent = await self._texter.send(Spoken(Channel(payload.channel), number, text, payload.language, job.id))
        return Submitted(sent.provider, "", sent.answer)

    async def _to_sender(
        self, kind: MailKind, job: outbox.Job, organisation: Organisation, delivery: Delivery, now: datetime
    ) -> _Ready:
        async with self._db.read() as tx:
            message = await messages.one(tx, delivery.message_id)
        asked = await self._asked(delivery)
        if message is None or (kind is MailKind.DELIVERED and not asked.of(delivery.id).success):
            raise NotNeeded
        alive = delivery.state in READABLE or delivery.state is DeliveryState.UNSCANNED
        if kind is MailKind.EXPIRING and (not alive or delivery.opened_at):
            raise NotNeeded
        if kind is MailKind.STOPPED and delivery.stopped is None:  # it goes on by now
            raise NotNeeded
        field = Field(message.epoch_id, message.sender_sealed)
        sender = (await self._fields.open(message.org_id, message.id, "sender", field)).decode()
        recipient = await self._recipient(delivery)
        told = self._told(organisation, organisation.language, sender, now, job.id)
        letter = letter_to_sender(self._letters, told, kind.value, delivery, recipient, self._console_url)
        if kind is MailKind.RECEIPT:
            return _Ready("", sender, read_receipt(told, letter, delivery, recipient, asked))
        if kind in OUTCOMES and (kind is MailKind.DELIVERED or asked.of(delivery.id).failure):
            status = (await self._payload(job)).decode() if job.payload_sealed else ""
            return _Ready("", sender, delivery_report(told, letter, delivery, recipient, asked, kind, status))
        # Who wants no reports (RFC 3461 4.1) hears it all the same, as a mail: no message dies without a human knowing.
        # RFC 3834 4: news that nobody is to answer automatically has no return path.
        return _Ready("", sender, told.mail(letter))

    async def _asked(self, delivery: Delivery) -> ReportsAsked:
        async with self._db.read() as tx:
            kept = await reports.of_message(tx, delivery.message_id)
        if kept is None:
            return ReportsAsked()
        field = Field(kept.epoch_id, kept.sealed)
        return ReportsAsked.load(await self._fields.open(delivery.org_id, delivery.message_id, "reports", field))

    async def _payload(self, job: outbox.Job) -> bytes:
        if job.epoch_id is None or job.payload_sealed is None:
            raise NotNeeded
        return await self._fields.open(job.org_id, job.id, job.kind, Field(job.epoch_id, job.payload_sealed))

    async def _recipient(self, delivery: Delivery) -> str:
        async with self._db.read() as tx:
            recipient = await deliveries.recipient_of(tx, delivery.id)
        if recipient is None:
            raise NotFound(f"delivery {delivery.id} has no recipient")
        field = Field(recipient.epoch_id, recipient.address_sealed)
        return (await self._fields.open(recipient.org_id, recipient.id, "address", field)).decode()

    def _told(
        self, organisation: Organisation, language: str, to: str, now: datetime, job_id: JobId, token: str = ""
    ) -> Told:
        """`token` is of the return path; with it there is a path where an answer by mail is known for what it is."""
        base_url = f"https://{organisation.host}" if organisation.host else self._base_url
        reply_to = f"reply+{reply_token(token)}@{self._domain}" if token else ""
        return Told(organisation, language, to, now, f"<{job_id}@{self._domain}>", base_url, reply_to)

    # -- how it went

    async def sent(self, job: outbox.Job, submitted: Submitted) -> None:
        facts = await self._facts(job)
        host, tls, reply = submitted.host, submitted.tls, submitted.reply
        kind = MailKind(job.kind)
        done = outbox.Settled("done", facts["at"], host, tls, reply)
        if kind in (MailKind.NOTICE, MailKind.REMINDER):
            notice = NoticeSent(**facts, host=host, tls=tls, reply=reply, reminder=kind is MailKind.REMINDER)
            wanted = await self._success_wanted(job)
            async with self._db.write(notice) as tx:
                if await outbox.settle(tx, job, done) and job.delivery_id:
                    await deliveries.noticed(tx, job.delivery_id)
                    if wanted:
                        await outbox.enqueue(tx, self._news(job, MailKind.DELIVERED))
        elif kind in (MailKind.CODE, MailKind.TEXT, MailKind.STAFF_CODE):
            sent = CodeSent(**facts, host=host, tls=tls, reply=reply, code_id=job.subject_id or "")
            async with self._db.write(sent) as tx:
                await outbox.settle(tx, job, done)
        elif kind in (MailKind.CHANGED, MailKind.POINTER):
            about, staff = kind.value, None if job.delivery_id else job.subject_id
            person_told = PersonTold(**facts, host=host, tls=tls, reply=reply, about=about, staff=staff)
            async with self._db.write(person_told) as tx:
                await outbox.settle(tx, job, done)
        else:
            async with self._db.write(SenderTold(**facts, host=host, tls=tls, reply=reply, about=kind.value)) as tx:
                await outbox.settle(tx, job, done)

    async def _success_wanted(self, job: outbox.Job) -> bool:
        """Whether this first notice is what the sender wants to hear of (RFC 3461 4.1, SUCCESS)."""
        async with self._db.read() as tx:
            delivery = await deliveries.one(tx, job.delivery_id) if job.delivery_id else None
            kept = await reports.of_message(tx, delivery.message_id) if delivery and not delivery.noticed_at else None
        return kept is not None and kept.success

    async def failed(self, job: outbox.Job, reason: str) -> None:
        """The job is given up. Of a notice, the sender is told."""
        facts = await self._facts(job)
        kind = MailKind(job.kind)
        failed = outbox.Settled("failed", facts["at"], answer=reason)
        reason = reason[:200]
        if kind in (MailKind.NOTICE, MailKind.REMINDER):
            async with self._db.write(NoticeFailed(**facts, reason=reason, reminder=kind is MailKind.REMINDER)) as tx:
                if await outbox.settle(tx, job, failed) and kind is MailKind.NOTICE and job.delivery_id:
                    await deliveries.notice_failed(tx, job.delivery_id)
                    await outbox.enqueue(tx, self._news(job, MailKind.UNDELIVERED))
        elif kind in (MailKind.CHANGED, MailKind.POINTER):
            staff = None if job.delivery_id else job.subject_id
            not_told = PersonNotTold(**facts, about=kind.value, reason=reason, staff=staff)
            async with self._db.write(not_told) as tx:
                await outbox.settle(tx, job, failed)
        elif kind in (MailKind.CODE, MailKind.TEXT, MailKind.STAFF_CODE):
            async with self._db.write(CodeFailed(**facts, code_id=job.subject_id or "", reason=reason)) as tx:
                await outbox.settle(tx, job, failed)
        else:
            async with self._db.write(SenderNotTold(**facts, about=kind.value, reason=reason)) as tx:
                await outbox.settle(tx, job, failed)

    async def drop(self, job: outbox.Job) -> None:
        """Settles a job of which nobody need be told any more."""
        async with self._db.bookkeeping() as tx:
            await outbox.settle(tx, job, outbox.Settled("dropped", self._source.now()))

    def _news(self, job: outbox.Job, kind: MailKind) -> outbox.Job:
        now = self._source.now()
        return outbox.job_for(self._source.new_id(), job.org_id, kind, job.delivery_id, now)

    async def _facts(self, job: outbox.Job) -> Facts:
        async with self._db.read() as tx:
            delivery = await deliveries.one(tx, job.delivery_id) if job.delivery_id else None
        return Facts(
            at=self._source.now(),
            who=Who.WORKER,
            actor="",
            org_id=job.org_id,
            message_id=delivery.message_id if delivery else None,
            delivery_id=delivery.id if delivery else None,
            session=None,
            origin=None,
        )
