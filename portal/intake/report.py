"""Takes mail that comes back to the portal's own paths: `bounce+TOKEN@`, where reports go, and `reply+TOKEN@`, where answers go.

The token names the mail that it comes back from, and with it what it means: a failed notice marks its delivery and tells the sender,
a failed code is said on its page, any other failed mail is on record. `Action` decides, not `Status`: `delayed` and `relayed` are
news (RFC 3464 2.3.3). A person who answers a notice is told where answers are read; a machine is never answered. Nothing of what
came is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from portal.db import deliveries, messages, outbox
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.intake import Accepted, Envelope, Relay
from portal.mime.report import MAX_REPORT_BYTES
from portal.mime.returned import Form, Returned, returned
from portal.model.errors import RecipientRefused
from portal.model.events import (
    CodeFailed,
    Facts,
    NoticeAnswered,
    NoticeBounced,
    PersonNotTold,
    SubmissionRefused,
    Who,
)
from portal.model.links import path_hash, return_token, token_hash
from portal.model.mails import MailKind
from portal.model.parties import Address, address
from portal.sealing.seal import Sealer

POINT_AGAIN = timedelta(days=1)
_NOTICES = (MailKind.NOTICE, MailKind.REMINDER)
_CODES = (MailKind.CODE, MailKind.STAFF_CODE)


@dataclass(frozen=True)
class OwnPath:
    """One of the portal's own paths. A mail's Reply-To is seen by whoever it is passed on to, so it counts for answers alone."""

    for_answers: bool
    found_by: bytes
    """The hash under which the mail's row is found."""


def own_path(recipient: Address, return_domain: str) -> OwnPath | None:
    """None when it is another address. Whether there is such a mail the rows say."""
    prefix, plus, token = recipient.local.partition("+")
    if recipient.domain != return_domain or not plus or prefix not in ("bounce", "reply"):
        return None
    return OwnPath(True, token_hash(token)) if prefix == "reply" else OwnPath(False, path_hash(token))


class ReportSubmission:
    """One on its way in; what goes beyond the limit is read and forgotten."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        relay: Relay,
        envelope: Envelope,
        return_domain: str,
        wake: Callable[[], None],
    ) -> None:
        self._db, self._sealer, self._source = db, sealer, sealer.source
        self._relay, self._envelope, self._domain, self._wake = relay, envelope, return_domain, wake
        self._raw = bytearray()

    async def write(self, piece: bytes) -> None:
        self._raw += piece[: MAX_REPORT_BYTES - len(self._raw)]

    async def abort(self) -> None:
        self._raw.clear()

    async def commit(self) -> Accepted:
        found = returned(bytes(self._raw), self._envelope.mail_from, self._domain)
        for one in dict.fromkeys(self._envelope.rcpt_to):
            path = own_path(address(one), self._domain)
            if path is not None:
                await self._take(path, found)
        return Accepted(None)

    async def _take(self, path: OwnPath, found: Returned) -> None:
        """The token alone says whose mail it was: any relay of this portal may be the one that is asked to bring it back."""
        async with self._db.read() as tx:
            job = await outbox.by_return_hash(tx, path.found_by)
            delivery = await deliveries.one(tx, job.delivery_id) if job and job.delivery_id else None
        if job is None:
            await self._refuse()
            raise RecipientRefused("the mail that this path was of has gone since RCPT")
        if found.form is Form.REPORT and found.action == "failed" and not path.for_answers:
            await self._failed(job, delivery, found)
        elif found.form is Form.ANSWER and path.for_answers:
            await self._answered(job, delivery, found)
        else:
            await self._on_record(job, delivery, f"{found.form}: {found.action}" if found.action else found.form)

    async def _failed(self, job: outbox.Job, delivery: Delivery | None, found: Returned) -> None:
        """A mail of ours did not arrive. What that means, its kind says."""
        facts, kind = self._facts(job, delivery), MailKind(job.kind)
        bounced = f"bounced {found.status}".strip()
        if kind in _CODES:
            code = CodeFailed(**facts, code_id=job.subject_id or "", reason=bounced)
            async with self._db.write(code) as told:
                await outbox.came_back(told, job, f"{found.status} returned by the recipient's mail host".strip())
        elif kind in _NOTICES and delivery:
            undelivered = await self._undelivered(delivery, found.status)
            notice = NoticeBounced(**facts, action=found.action, status=found.status)
            async with self._db.write(notice) as changed:
                if await deliveries.bounced(changed, delivery.id):
                    await outbox.enqueue(changed, undelivered)
            self._wake()
        else:  # about her ways in: the delivery it hangs on has nothing to do with it
            staff = None if delivery else job.subject_id
            person = PersonNotTold(**facts, about=job.kind, reason=bounced, staff=staff)
            async with self._db.write(person) as told:
                await outbox.came_back(told, job, f"{found.status} returned by the recipient's mail host".strip())

    async def _answered(self, job: outbox.Job, delivery: Delivery | None, found: Returned) -> None:
        """Whoever wrote is told where answers are read: at the address that the mail went to, and once a day."""
        if delivery is None or not await self._wrote(delivery):
            await self._on_record(job, delivery, found.form)
            return
        facts, now = self._facts(job, delivery), self._source.now()
        async with self._db.read() as tx:
            sent = [one for one in await outbox.of_delivery(tx, delivery.id) if one.kind == MailKind.POINTER]
        again = any(now - one.made_at < POINT_AGAIN for one in sent)
        pointer = await self._pointer(delivery, job)
        async with self._db.write(NoticeAnswered(**facts, what=found.form, pointed=not again)) as changed:
            if not again:
                await outbox.enqueue(changed, pointer)
        self._wake()

    async def _pointer(self, delivery: Delivery, answered: outbox.Job) -> outbox.Job:
        """It has a return path as notices have: by that the relay knows what may go to a host without TLS."""
        back, job_id, kind = return_token(self._source.random(16)), self._source.new_id(), MailKind.POINTER
        field = await self._sealer.field(delivery.org_id, job_id, kind.value, back.encode())
        return outbox.job_for(
            job_id,
            delivery.org_id,
            kind,
            delivery.id,
            self._source.now(),
            subject_id=answered.id,
            epoch_id=field.epoch_id,
            payload_sealed=field.sealed,
            return_hash=path_hash(back),
        )

    async def _wrote(self, delivery: Delivery) -> bool:
        """Whether the mail names the delivery's own recipient as its sender: nobody else is written to."""
        try:
            writer = address(self._envelope.mail_from)
        except ValueError:
            return False
        hashed = self._sealer.index(delivery.org_id, "recipient", str(writer))
        return await messages.recipient_id(self._db, delivery.org_id, hashed) == delivery.recipient_id

    async def _refuse(self) -> None:
        relay, origin = self._relay, self._envelope.origin
        now, reason = self._source.now(), RecipientRefused.__name__
        event = SubmissionRefused(
            at=now, who=Who.RELAY, actor=relay.id, org_id=relay.org_id, origin=origin, reason=reason
        )
        await self._db.record(event)

    async def _on_record(self, job: outbox.Job, delivery: Delivery | None, what: str) -> None:
        await self._db.record(NoticeAnswered(**self._facts(job, delivery), what=what[:40], pointed=False))

    def _facts(self, job: outbox.Job, delivery: Delivery | None) -> Facts:
        return Facts(
            at=self._source.now(),
            who=Who.RELAY,
            actor=self._relay.id,
            org_id=job.org_id,
            message_id=delivery.message_id if delivery else None,
            delivery_id=delivery.id if delivery else None,
            session=None,
            origin=self._envelope.origin,
        )

    async def _undelivered(self, delivery: Delivery, status: str) -> outbox.Job:
        """The report to the sender, with the code that the recipient's host gave."""
        now, job_id, kind = self._source.now(), self._source.new_id(), MailKind.UNDELIVERED
        field = await self._sealer.field(delivery.org_id, job_id, kind.value, status.encode())
        sealed, epoch_id = field.sealed, field.epoch_id
        return outbox.job_for(job_id, delivery.org_id, kind, delivery.id, now, epoch_id=epoch_id, payload_sealed=sealed)
