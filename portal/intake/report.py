"""Takes mail that comes back to a notice's return path: delivery reports (RFC 3464), and nothing else.

`bounce+TOKEN@` names the notice. `Action: failed` marks the delivery and tells the sender; `delayed` and `relayed` are news, not
failures; what is no delivery report (an automatic answer) is taken and dropped. Nothing of the mail is kept.
"""

from collections.abc import Callable

from portal.clock import Source
from portal.db import deliveries, outbox
from portal.db.engine import Database
from portal.intake import Accepted, Relay
from portal.mime.report import MAX_REPORT_BYTES, read_report
from portal.model.events import CodeFailed, Facts, NoticeBounced, Who
from portal.model.ids import DeliveryId, OrgId
from portal.model.links import token_hash
from portal.model.mails import OF_NO_DELIVERY, MailKind
from portal.model.parties import Address

PREFIX = "bounce+"


def return_token(recipient: Address, return_domain: str) -> str | None:
    """The token in a return path's address; None when it is another address."""
    if recipient.domain != return_domain or not recipient.local.startswith(PREFIX):
        return None
    return recipient.local.removeprefix(PREFIX)


class ReportSubmission:
    """A report on its way in; what goes beyond the limit is read and forgotten."""

    def __init__(self, db: Database, source: Source, relay: Relay, tokens: list[str], wake: Callable[[], None]) -> None:
        self._db, self._source, self._relay, self._tokens, self._wake = db, source, relay, tokens, wake
        self._raw = bytearray()

    async def write(self, piece: bytes) -> None:
        self._raw += piece[: MAX_REPORT_BYTES - len(self._raw)]

    async def abort(self) -> None:
        self._raw.clear()

    async def commit(self) -> Accepted:
        found = read_report(self._raw)
        if found and found[0] == "failed":
            for token in self._tokens:
                await self._mark(token, *found)
        return Accepted(None)

    async def _mark(self, token: str, action: str, status: str) -> None:
        async with self._db.read() as tx:
            job = await outbox.by_return_hash(tx, token_hash(token))
            delivery = await deliveries.one(tx, job.delivery_id) if job else None
        if job is None or delivery is None or job.org_id != self._relay.org_id:
            return
        facts = Facts(
            at=self._source.now(),
            who=Who.RELAY,
            actor=self._relay.id,
            org_id=job.org_id,
            message_id=None if job.kind in OF_NO_DELIVERY else delivery.message_id,
            delivery_id=None if job.kind in OF_NO_DELIVERY else delivery.id,
            session=None,
            origin=None,
        )
        if job.kind in (MailKind.CODE, MailKind.STAFF_CODE):
            failed = CodeFailed(**facts, code_id=job.subject_id or "", reason=f"bounced {status}")
            async with self._db.write(failed) as told:
                await outbox.came_back(told, job, f"{status} returned by the recipient's mail host".strip())
            return
        async with self._db.write(NoticeBounced(**facts, action=action, status=status)) as changed:
            if await deliveries.bounced(changed, delivery.id):
                await outbox.enqueue(changed, self._undelivered(job.org_id, delivery.id))
        self._wake()

    def _undelivered(self, org_id: OrgId, delivery_id: DeliveryId) -> outbox.Job:
        now = self._source.now()
        return outbox.job_for(self._source.new_id(), org_id, MailKind.UNDELIVERED, delivery_id, now)
