"""Takes mail that comes back to a notice's return path: delivery reports (RFC 3464), and nothing else.

`bounce+TOKEN@` names the notice. `Action: failed` marks the delivery and tells the sender; `delayed` and `relayed` are news, not
failures; what is no delivery report (an automatic answer) is taken and dropped. Nothing of the mail is kept.
"""

import asyncio
import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message

from portal.clock import Source
from portal.db import deliveries, outbox
from portal.db.engine import Database
from portal.intake import Accepted, Relay
from portal.model.events import NoticeBounced, Who
from portal.model.ids import DeliveryId, JobId, OrgId
from portal.model.links import token_hash
from portal.model.mails import MailKind, give_up_at
from portal.model.parties import Address

PREFIX = "bounce+"
MAX_REPORT_BYTES = 256 * 1024
"""Of a report this much is looked at: its machine-readable part comes before the returned message (RFC 3462)."""
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


def return_token(recipient: Address, return_domain: str) -> str | None:
    """The token in a return path's address; None when it is another address."""
    if recipient.domain != return_domain or not recipient.local.startswith(PREFIX):
        return None
    return recipient.local.removeprefix(PREFIX)


def read_report(raw: bytes) -> tuple[str, str] | None:
    """Action (lower case) and Status of the first recipient in a delivery report; None when it is none."""
    message = message_from_bytes(raw[:MAX_REPORT_BYTES])
    if message.get_content_type() != "multipart/report":
        return None
    for part in message.walk():
        if part.get_content_type() == "message/delivery-status":
            return _action(part)
    return None


def _action(part: Message) -> tuple[str, str] | None:
    blocks = part.get_payload()
    for block in blocks if isinstance(blocks, list) else []:
        if isinstance(block, Message) and block.get("Action"):
            status = _STATUS.search(str(block.get("Status", "")))
            return str(block["Action"]).strip().lower()[:20], status[0] if status else ""
    return None


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
        try:
            found = await asyncio.to_thread(read_report, bytes(self._raw))
        except Exception:  # the library raises whatever it likes on hostile input; such a report is no report
            found = None
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
        now = self._source.now()
        event = NoticeBounced(
            at=now,
            who=Who.RELAY,
            actor=self._relay.id,
            org_id=job.org_id,
            message_id=delivery.message_id,
            delivery_id=delivery.id,
            action=action,
            status=status,
        )
        async with self._db.write(event) as changed:
            if await deliveries.bounced(changed, delivery.id):
                await outbox.enqueue(changed, self._undelivered(job.org_id, delivery.id))
        self._wake()

    def _undelivered(self, org_id: OrgId, delivery_id: DeliveryId) -> outbox.Job:
        now = self._source.now()
        return outbox.Job(
            id=JobId(self._source.new_id()),
            org_id=org_id,
            kind=MailKind.UNDELIVERED.value,
            delivery_id=delivery_id,
            subject_id=None,
            epoch_id=None,
            payload_sealed=None,
            made_at=now,
            due_at=now,
            give_up_at=give_up_at(MailKind.UNDELIVERED, now),
        )
