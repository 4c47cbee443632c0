"""A recipient's answer: attachments sealed as they arrive, the text when it is sent, all of it queued for the sender.

The text and each attachment has a DEK of its own, granted to the recipient (a copy stays in the thread) and to the hand-over.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from portal.clock import Source
from portal.db import deliveries, orgs, outbox, replies, views
from portal.db.engine import Database, Stale
from portal.db.hot import Statement
from portal.mime.cover import Cover
from portal.mime.names import safe_name, sniffed
from portal.model.access import Access, Deny, Purpose, Reader, facts, may_read
from portal.model.errors import (
    AssuranceNeeded,
    BodyTooLarge,
    FileInfected,
    FilesChanged,
    FileUnscanned,
    InputRefused,
    NoLongerReadable,
    NotFound,
    PortalError,
    ReplyEmpty,
    TooManyDrafts,
    TooManyFiles,
)
from portal.model.events import FileRefused, ReadDenied, ReplySubmitted, Who
from portal.model.ids import BlobKey, DeliveryId, ReplyId
from portal.model.mails import MailKind
from portal.model.policy import Scan as ScanClass
from portal.model.reply import FileLabel, ReplyText, reply_subject
from portal.scan import Finding, Scan, Scanner, Verdict
from portal.sealing import Field, GrantFor, Holder, Kind, add_grant
from portal.sealing.open import Fields, Opener
from portal.sealing.seal import Container, Sealer

MAX_TEXT = 100_000
"""Signs in a reply's text."""
MAX_DRAFTS = 5
"""Drafts with files that one delivery may have. One more is refused, never an older one dropped for it: the page of that
one may be open still, with files somebody sent and words that would go without them. Who is refused has lost nothing and is
told what to do; words alone always go, and the sweep takes what was left lying (portal/lifecycle/dispose.py)."""
_SNIFFED_BYTES = 8192
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class ReplyLimits:
    """Said before an upload, and enforced while it streams."""

    max_bytes: int
    max_files: int


@dataclass(frozen=True)
class Receipt:
    """What was sent."""

    reply_id: ReplyId
    text: ReplyText


class Compose:
    """See the module. `wake` tells the worker of this process that a reply is queued."""

    def __init__(
        self,
        db: Database,
        opener: Opener,
        fields: Fields,
        sealer: Sealer,
        limits: ReplyLimits,
        wake: Callable[[], None],
        scanner: Scanner | None = None,
    ) -> None:
        self._scanner = scanner
        self.limits = limits
        self._db, self._opener, self._fields, self._sealer = db, opener, fields, sealer
        self._source: Source = sealer.source
        self._wake = wake

    async def answered(self, reader: Reader, delivery_id: DeliveryId) -> Cover:
        """The heading of the message to be answered, for the page; that is a view, and on record.

        Raises NotFound, NoLongerReadable (also when it may not be answered).
        """
        access, stored = await self._allowed(reader, delivery_id)
        try:
            opened, _ = await self._opener.open(access)
        except Stale:
            raise NoLongerReadable("it ended between the look and the commit") from None
        if stored.heading_sealed is None:
            raise NoLongerReadable("disposed")
        return Cover.load(await opened.read(Kind.HEADING, stored.heading_sealed))

    async def crowded(self, delivery_id: DeliveryId) -> bool:
        """Whether no further draft can take a file now, for the page to say before one is chosen."""
        async with self._db.read() as tx:
            return len(await replies.drafts(tx, delivery_id)) >= MAX_DRAFTS

    async def files(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId) -> list[FileLabel]:
        """What is attached to a draft so far; nothing for one that was never begun."""
        await self._draft(reader, delivery_id, reply_id)
        async with self._db.read() as tx:
            rows = await replies.files(tx, reply_id)
        return [await self._label(row) for row in rows]

    async def attach(
        self,
        reader: Reader,
        delivery_id: DeliveryId,
        reply_id: ReplyId,
        name: str,
        declared: str,
        pieces: AsyncIterator[bytes],
    ) -> FileLabel:
        """Seals one attachment as it arrives, past the virus scanner where there is one. Nothing of it is kept when it raises:
        BodyTooLarge, TooManyFiles, TooManyDrafts, FileInfected, and FileUnscanned where the class takes none unscanned.

        The first file begins a draft: its id was made with the page.
        """
        draft = await self._draft(reader, delivery_id, reply_id)
        async with self._db.read() as tx:
            have = await replies.files(tx, reply_id)
            _place(draft, await replies.drafts(tx, delivery_id))
        room = self._room(have)
        file_id = self._source.new_id()
        container = self._sealer.container(draft.org_id, file_id)
        stream = await container.stream(Kind.PART, file_id)
        scan = await self._scan(draft)
        digest, head = hashlib.sha256(), b""
        try:
            async for piece in pieces:
                if stream.size + len(piece) > room:
                    raise BodyTooLarge("The files together are too large for one reply.", "files")
                digest.update(piece)
                head += piece[: _SNIFFED_BYTES - len(head)]
                await stream.write(piece)
                if scan is not None:
                    await scan.write(piece)
            await self._check_scan(reader, draft, scan)
            await stream.commit()
        except BaseException:
            await stream.abort()
            raise
        finally:
            if scan is not None:
                scan.close()
        label = FileLabel(
            file_id, safe_name(name, str(len(have) + 1), declared), sniffed(head), stream.size, digest.hexdigest()
        )
        try:
            await self._keep(reader, draft, container, stream.key, label)
        except InputRefused:
            await self._sealer.blobs.delete(stream.key)
            raise
        return label

    async def detach(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, file_id: str) -> None:
        """Removes an attachment from a draft. Raises NotFound when it has none of that id."""
        await self._draft(reader, delivery_id, reply_id)
        async with self._db.read() as tx:
            row = next((one for one in await replies.files(tx, reply_id) if one.id == file_id), None)
        if row is None:
            raise NotFound("no such attachment")
        async with self._db.bookkeeping() as tx:
            if not await replies.hold_draft(tx, reply_id):
                raise NotFound("the draft was sent already")
            await replies.remove_file(tx, row)
        await self._sealer.blobs.delete(row.blob_key)

    async def submit(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, text: str) -> Receipt:
        """Seals the text and queues the reply. Raises InputRefused, NotFound (also when it was sent already), NoLongerReadable."""
        draft = await self._draft(reader, delivery_id, reply_id)
        written = text.replace("\r\n", "\n").replace("\r", "\n").strip()
        async with self._db.read() as tx:
            labels = [await self._label(row) for row in await replies.files(tx, reply_id)]
            recipient = await deliveries.recipient_of(tx, delivery_id)
        assert recipient is not None
        if not written and not labels:
            raise ReplyEmpty("Write your reply, or add a file.", "text")
        if len(written) > MAX_TEXT or _CONTROLS.search(written):
            raise InputRefused(
                "The text is too long or has signs that can't be sent. Shorten it, or add it as a file.", "text"
            )
        cover = await self.answered(reader, delivery_id)
        author = await self._fields.open(
            recipient.org_id, recipient.id, "address", Field(recipient.epoch_id, recipient.address_sealed)
        )
        thread = (*cover.references, cover.message_id) if cover.message_id else cover.references
        subject = reply_subject(cover.heading.subject)
        reply = ReplyText(cover.sender, author.decode(), subject, cover.message_id, thread, written, tuple(labels))
        await self._send(reader, draft, reply)
        self._wake()
        return Receipt(reply_id, reply)

    # -- below: what the above is made of

    async def _allowed(self, reader: Reader, delivery_id: DeliveryId) -> tuple[Access, views.Stored]:
        stored, now = await views.stored(self._db, delivery_id), self._source.now()
        decision = may_read(reader, stored.target, Purpose.QUOTE, now) if stored else Deny("foreign")
        if isinstance(decision, Deny):
            raise await self._refused(reader, stored, decision, now)
        assert stored is not None
        if not stored.reply_allowed:
            raise NotFound("this class of message takes no reply")
        return decision, stored

    async def _refused(self, reader: Reader, stored: views.Stored | None, deny: Deny, now: datetime) -> PortalError:
        """The error for a reader who may not, once it is on record; of what is not hers the record names nothing."""
        if stored is None or deny.reason == "foreign":
            event = ReadDenied(
                at=now,
                who=Who.RECIPIENT,
                actor=reader.recipient_id,
                org_id=reader.org_id,
                session=reader.session,
                origin=reader.origin,
                reason="foreign",
            )
        else:
            event = ReadDenied(**facts(reader, stored.target, now), reason=deny.reason)
        await self._db.record(event)
        if deny.reason in ("foreign", "stopped"):
            return NotFound("another's delivery, or none")
        return AssuranceNeeded(deny.reason) if deny.reason == "assurance" else NoLongerReadable(deny.reason)

    async def _draft(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId) -> replies.Reply:
        """A draft of this delivery, or what it will be once it is begun. Raises NotFound: another's, or sent already."""
        _, stored = await self._allowed(reader, delivery_id)
        async with self._db.read() as tx:
            reply = await replies.one(tx, reply_id)
        target, now = stored.target, self._source.now()
        draft = replies.Reply(reply_id, target.org_id, target.message_id, delivery_id, "draft", None, 0, now)
        if _over(draft, reply):
            raise NotFound("no such draft")
        return reply or draft

    async def _scan(self, draft: replies.Reply) -> Scan | None:
        """What a file goes through; None when nothing is asked of it."""
        async with self._db.read() as tx:
            asked = await orgs.scan_of_message(tx, draft.message_id)
        return await self._scanner.begin() if self._scanner and asked is not ScanClass.OFF else None

    async def _check_scan(self, reader: Reader, draft: replies.Reply, scan: Scan | None) -> None:
        """Raises FileInfected and FileUnscanned, once that is on record."""
        async with self._db.read() as tx:
            required = await orgs.scan_of_message(tx, draft.message_id) is ScanClass.REQUIRED
        found = await scan.finding() if scan else Finding(Verdict.UNKNOWN, "no scanner is set")
        if found.verdict is Verdict.CLEAN or (found.verdict is Verdict.UNKNOWN and not required):
            return
        stored = await views.stored(self._db, draft.delivery_id)
        assert stored is not None
        about = facts(reader, stored.target, self._source.now())
        await self._db.record(FileRefused(**about, reason=found.verdict.value, said=found.said))
        if found.verdict is Verdict.INFECTED:
            raise FileInfected("The virus scanner found something in this file.", "files")
        raise FileUnscanned("This file can't be checked for viruses right now. Try again in a few minutes.", "files")

    async def _label(self, row: replies.ReplyFile) -> FileLabel:
        return FileLabel.load(
            await self._fields.open(row.org_id, row.id, "label", Field(row.epoch_id, row.label_sealed))
        )

    async def _grants(self, reader: Reader, draft: replies.Reply, container: Container) -> list[Statement]:
        thread = Holder(GrantFor.DELIVERY, draft.delivery_id, reader.recipient_id)
        return [add_grant(await container.grant(holder)) for holder in (thread, Holder(GrantFor.HANDOVER, draft.id))]

    async def _keep(
        self, reader: Reader, draft: replies.Reply, container: Container, key: BlobKey, label: FileLabel
    ) -> None:
        field = await self._sealer.field(draft.org_id, label.id, "label", label.dump())
        now = self._source.now()
        row = replies.ReplyFile(label.id, draft.org_id, draft.id, key, label.size, field.sealed, field.epoch_id, now)
        allowed = await self._grants(reader, draft, container)
        async with self._db.bookkeeping() as tx:
            # Looked at again under the locks: what is sent side by side keeps to the limits together.
            held = await replies.hold(tx, draft)
            if held is None:
                _place(draft, await replies.drafts(tx, draft.delivery_id))
            if _over(draft, held) or not (held or await replies.begin(tx, draft)):
                raise InputRefused("The reply was sent meanwhile, without this file.", "files")
            if label.size > self._room(await replies.files(tx, draft.id)):
                raise BodyTooLarge("The files together are too large for one reply.", "files")
            await replies.add_file(tx, row, allowed)

    def _room(self, have: list[replies.ReplyFile]) -> int:
        """How many bytes still fit. Raises TooManyFiles."""
        if len(have) >= self.limits.max_files:
            raise TooManyFiles(f"A reply can carry {self.limits.max_files} files.", "files")
        return self.limits.max_bytes - sum(row.size for row in have)

    async def _send(self, reader: Reader, draft: replies.Reply, reply: ReplyText) -> None:
        now = self._source.now()
        container = self._sealer.container(draft.org_id, draft.id)
        sealed = container.seal(Kind.TEXT, reply.dump())
        size = len(reply.text.encode()) + sum(one.size for one in reply.files)
        stored = await views.stored(self._db, draft.delivery_id)
        assert stored is not None
        event = ReplySubmitted(
            **facts(reader, stored.target, now), reply_id=draft.id, attachments=len(reply.files), size=size
        )
        allowed = await self._grants(reader, draft, container)
        async with self._db.write(event) as tx:
            held = await replies.hold(tx, draft)
            if {row.id for row in await replies.files(tx, draft.id)} != {one.id for one in reply.files}:
                raise FilesChanged("The files changed meanwhile. Look at them, then send the reply.", "files")
            if _over(draft, held) or not (held or await replies.begin(tx, draft)):
                raise NotFound("the draft was sent already")
            if not await replies.submit(tx, draft.id, sealed, size, allowed):
                raise NotFound("the draft was sent already")
            if not await deliveries.replied(tx, draft.delivery_id):
                raise NoLongerReadable("it ended while the reply was being written")
            await outbox.enqueue(tx, self._job(draft))

    def _job(self, draft: replies.Reply) -> outbox.Job:
        now = self._source.now()
        return outbox.job_for(
            self._source.new_id(), draft.org_id, MailKind.REPLY, draft.delivery_id, now, subject_id=draft.id
        )


def _over(draft: replies.Reply, found: replies.Reply | None) -> bool:
    """Whether what is kept under a draft's id can't be written to: it was sent, or answers another delivery."""
    return found is not None and (found.delivery_id, found.state) != (draft.delivery_id, "draft")


def _place(draft: replies.Reply, begun: set[ReplyId]) -> None:
    """Raises TooManyDrafts when a draft is not among those of its delivery, and can't be one more."""
    if draft.id not in begun and len(begun) >= MAX_DRAFTS:
        raise TooManyDrafts("Too many unsent replies hold files. Send one, or send this one without a file.", "files")
