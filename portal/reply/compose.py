"""A recipient's answer: text and attachments sealed as they come in, and when it is sent all of it queued for the sender.

The text and each attachment has a DEK of its own, granted to the recipient (a copy stays in the thread) and to the hand-over.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from portal.clock import Source
from portal.db import deliveries, orgs, outbox, replies, views
from portal.db.engine import Database, Duplicate, Stale
from portal.db.hot import Statement
from portal.mime import Renderer
from portal.mime.cover import Cover
from portal.mime.names import safe_name, sniffed
from portal.mime.words import plain
from portal.model.access import Access, Deny, Purpose, Reader, facts, may_read
from portal.model.errors import (
    AssuranceNeeded,
    BodyTooLarge,
    ContentDamaged,
    DraftChanged,
    FileInfected,
    FilesChanged,
    FilesUnscanned,
    FileUnscanned,
    InputRefused,
    NoLongerReadable,
    NotFound,
    PortalError,
    ReplyEmpty,
    StorageAway,
    TooManyDrafts,
    TooManyFiles,
    TooManyTries,
    UploadOffset,
)
from portal.model.events import FileRefused, ReadDenied, ReplySubmitted, ScanOpened, Who
from portal.model.ids import BlobKey, DeliveryId, OrgId, ReplyId
from portal.model.mails import MailKind
from portal.model.message import SEEN
from portal.model.policy import Scan as ScanClass
from portal.model.reply import FileLabel, ReplyText, Written, others_of, reply_subject
from portal.reply.uploads import IDLE, LEFT_LYING, Begun, Upload, Uploads
from portal.scan import Finding, Scan, Scanner, Verdict
from portal.sealing import Field, GrantFor, Holder, Kind, add_grant
from portal.sealing.open import Fields, Opener
from portal.sealing.seal import Container, Sealer

MAX_TEXT = 100_000
"""Signs in a reply's text."""
MAX_DRAFTS = 5
"""Drafts that one delivery may have. One more is refused, never an older one dropped for it: the page of that one may be open
still, with files somebody sent and words that would go without them. Who is refused has lost nothing and is told what to do;
words alone can always be sent, and the sweep takes what was left lying (portal/lifecycle/dispose.py)."""
MAX_SUBJECT = 200
MOST_A_DAY = 20
"""New messages to an organisation are refused once a person has sent so much, replies too, within 24 hours."""
MOST_SHOWN = 10
_DAY = timedelta(days=1)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class ReplyLimits:
    """Said before an upload, and enforced while it streams."""

    max_bytes: int
    max_files: int


Seen = frozenset[str]
"""The versions of a draft that its writer's page may rely on: the one it was shown, and those it sent since without an answer."""


@dataclass(frozen=True)
class Answered:
    """The message that is answered: its cover, and who besides its sender the answer may go to (none where its class says so).

    None is the cover of what answers nothing: a new message to the organisation.
    """

    cover: Cover | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A reply that is not sent, as it was kept last."""

    id: ReplyId
    version: str
    typed: Written


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
        renderer: Renderer,
        wake: Callable[[], None],
        scanner: Scanner | None = None,
        own_domain: str = "",
    ) -> None:
        """`own_domain` is that of the paths on which mail comes back to the portal: no answer goes there."""
        self._own_domain = own_domain
        self._scanner = scanner
        self.limits = limits
        self._renderer, self._uploads = renderer, Uploads()
        self._db, self._opener, self._fields, self._sealer = db, opener, fields, sealer
        self._source: Source = sealer.source
        self._wake = wake

    async def place(self, reader: Reader) -> DeliveryId | None:
        """Beside which of her messages a new one of hers to the organisation is kept; None where she can't write one."""
        if await self._contact(reader.org_id) is None:
            return None
        async with self._db.read() as tx:
            return await replies.place(tx, reader.org_id, reader.recipient_id, self._source.now())

    async def elsewhere(self, reader: Reader, reply_id: ReplyId) -> DeliveryId | None:
        """As `place`, for a new message once the delivery that it was begun beside has ended; None for one that was sent."""
        async with self._db.read() as tx:
            found = await replies.one(tx, reply_id)
        return await self.place(reader) if found is None or found.state == "draft" else None

    async def written(self, reader: Reader) -> list[replies.Reply]:
        """Her own new messages, sent or begun; nothing of them is opened."""
        async with self._db.read() as tx:
            return await replies.fresh(tx, reader.org_id, reader.recipient_id, self._source.now(), MOST_SHOWN)

    async def answered(self, reader: Reader, delivery_id: DeliveryId, *, fresh: bool = False) -> Answered:
        """The heading of the message to be answered, for the page; that is a view, and on record.

        With `fresh` nothing is answered, and nothing opened. Raises NotFound, NoLongerReadable (also when it may not be answered).
        """
        if fresh:
            _, stored = await self._allowed(reader, delivery_id)
            await self._free(stored)
            return Answered(None)
        answered, _ = await self._opened(reader, delivery_id, None)
        return answered

    async def resumed(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId) -> tuple[Answered, Draft]:
        """The heading and a draft of the answer to it: one view, on record. Raises NotFound, also when it was sent; else as above."""
        for again in (True, True, False):
            await self._draft(reader, delivery_id, reply_id)
            async with self._db.read() as tx:
                draft = await replies.one(tx, reply_id)
            if draft is None:
                raise NotFound("no such draft")
            try:
                answered, typed = await self._opened(reader, delivery_id, draft)
            except (ContentDamaged, NoLongerReadable):
                async with self._db.read() as tx:
                    found = await replies.one(tx, reply_id)
                if again and found != draft:  # saved between the look at the row and at its grant
                    continue
                raise
            return answered, Draft(draft.id, draft.version or "", typed)
        raise AssertionError("unreachable")

    async def crowded(self, delivery_id: DeliveryId) -> bool:
        """Whether no further draft can be kept now, for the page to say before anything is typed."""
        async with self._db.read() as tx:
            return len(await replies.drafts(tx, delivery_id)) >= MAX_DRAFTS

    async def save(
        self,
        reader: Reader,
        delivery_id: DeliveryId,
        reply_id: ReplyId,
        typed: Written,
        seen: Seen,
        version: str,
        *,
        below: bool = False,
    ) -> bool:
        """Seals what is typed and keeps it as `version`; what was kept before opens no more. Whether there is such a draft now: no
        word begins none. Opens nothing, and is no event: what is not sent, nobody but its writer was given (docs/DESIGN.md).

        `below`: also where the session falls short of what the message asks for by now, so that no word is lost for it. As the page
        can't show them again, one draft more than else is kept, and what is too long to be sent.

        Raises DraftChanged when the draft has a version that is not in `seen`, TooManyDrafts, InputRefused, NotFound (also when it
        was sent), NoLongerReadable.
        """
        draft = await self._draft(reader, delivery_id, reply_id, fresh=typed.fresh, below=below)
        if not below:
            _check_text(typed.text)
        typed = replace(typed, subject=plain(typed.subject, MAX_SUBJECT))
        container = self._sealer.container(draft.org_id, draft.id)
        sealed = container.seal(Kind.DRAFT, typed.dump()) if typed.text.strip() else None
        holder = Holder(GrantFor.DELIVERY, draft.delivery_id, reader.recipient_id)
        allowed, now = [add_grant(await container.grant(holder))], self._source.now()
        try:
            async with self._db.bookkeeping() as tx:
                held = await replies.hold(tx, draft, now)
                if held is None and sealed is None:
                    return False
                if held is None:
                    _place(draft, await replies.drafts(tx, draft.delivery_id), MAX_DRAFTS + below)
                if _over(draft, held) or not (held or await replies.begin(tx, draft)):
                    raise NotFound("the draft was sent already")
                if held and held.version and held.version not in seen:
                    raise DraftChanged("This reply was changed in another window.", "text")
                await replies.save(tx, held or draft, version, sealed, allowed, now, fresh=typed.fresh)
        except Duplicate:
            raise NotFound("the id is something else's") from None
        return True

    async def discard(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId) -> None:
        """Throws a draft away, with its files. Raises NotFound when it was sent."""
        await self._draft(reader, delivery_id, reply_id)
        for upload in self._uploads.of(reply_id):
            await self._uploads.drop(upload)
        async with self._db.bookkeeping() as tx:
            unneeded = await replies.forget_draft(tx, reply_id)
        for key in unneeded:
            await self._sealer.blobs.delete(key)

    # -- files

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
        *,
        fresh: bool = False,
    ) -> FileLabel:
        """Seals one attachment as it arrives, past the virus scanner where there is one. Nothing of it is kept when it raises:
        BodyTooLarge, TooManyFiles, TooManyDrafts, FileInfected, and FileUnscanned where the class takes none unscanned.

        The first file begins a draft: its id was made with the page.
        """
        upload = await self.begin(reader, delivery_id, reply_id, name, declared, None, fresh=fresh)
        try:
            label = await self._append(reader, upload, 0, pieces, complete=True)
        except BaseException:
            await self._uploads.drop(upload)
            raise
        assert label is not None
        return label

    async def begin(
        self,
        reader: Reader,
        delivery_id: DeliveryId,
        reply_id: ReplyId,
        name: str,
        declared: str,
        length: int | None,
        *,
        fresh: bool = False,
    ) -> Upload:
        """Begins an upload that can be gone on with; `length` is what its sender says it will be. Raises as `attach`."""
        draft = await self._draft(reader, delivery_id, reply_id, fresh=fresh)
        async with self._db.read() as tx:
            have = await replies.files(tx, reply_id)
            _place(draft, await replies.drafts(tx, delivery_id))
        await self._uploads.forget(self._source.now() - IDLE)
        await self._uploads.make_way(reader.recipient_id, self._source.now() - LEFT_LYING)
        file_id = self._source.new_id()
        container = self._sealer.container(draft.org_id, file_id)
        begun = Begun(file_id, reader.recipient_id, delivery_id, reply_id, name, declared, length, fresh)
        stream = await container.stream(Kind.PART, file_id)
        upload = Upload(begun, container, stream, await self._scan(draft), self._source.now)
        try:
            if not self._fits(upload, have):
                await self._uploads.make_room(reply_id, self._source.now() - LEFT_LYING)
            if self._room(have, self._uploads.of(reply_id)) < (length or 0):
                raise BodyTooLarge("The files together are too large for one reply.", "files")
            self._uploads.add(upload)
        except BaseException:
            await self._uploads.drop(upload)
            raise
        return upload

    async def append(
        self,
        reader: Reader,
        delivery_id: DeliveryId,
        reply_id: ReplyId,
        file_id: str,
        offset: int,
        pieces: AsyncIterator[bytes],
        *,
        complete: bool,
    ) -> FileLabel | None:
        """Goes on with an upload; gives the file once it is whole. Raises UploadOffset, after which it can be gone on with again, as
        after a broken connection; else as `attach`, and NotFound."""
        await self._draft(reader, delivery_id, reply_id)
        upload = self._uploads.get(delivery_id, reply_id, file_id)
        if upload is None or upload.touched_at < self._source.now() - IDLE:
            raise NotFound("no such upload")
        try:
            return await self._append(reader, upload, offset, pieces, complete=complete)
        except UploadOffset:
            raise
        except PortalError:
            await self._uploads.drop(upload)
            raise

    async def standing(
        self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, file_id: str
    ) -> tuple[int, bool]:
        """How many bytes of an upload are here, and whether it is a file of the draft by now. Raises NotFound."""
        await self._draft(reader, delivery_id, reply_id)
        upload = self._uploads.get(delivery_id, reply_id, file_id)
        offset = await upload.standing() if upload else 0
        async with self._db.read() as tx:
            row = next((one for one in await replies.files(tx, reply_id) if one.id == file_id), None)
        if row is not None:
            return row.size, True
        if upload is None or upload.over or upload.touched_at < self._source.now() - IDLE:
            raise NotFound("no such upload")
        return offset, False

    async def detach(self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, file_id: str) -> None:
        """Removes an attachment from a draft, or an upload before it is one. Raises NotFound when it has none of that id."""
        await self._draft(reader, delivery_id, reply_id)
        upload = self._uploads.get(delivery_id, reply_id, file_id)
        if upload is not None:
            await self._uploads.drop(upload)
        async with self._db.read() as tx:
            row = next((one for one in await replies.files(tx, reply_id) if one.id == file_id), None)
        if row is None and upload is None:
            raise NotFound("no such attachment")
        if row is None:
            return
        async with self._db.bookkeeping() as tx:
            if not await replies.hold_draft(tx, reply_id):
                raise NotFound("the draft was sent already")
            await replies.remove_file(tx, row)
        await self._sealer.blobs.delete(row.blob_key)

    # -- sending

    async def preview(self, reader: Reader, typed: Written) -> str:
        """What is typed, as HTML. Raises InputRefused."""
        _check_text(typed.text)
        return await self._renderer.formatted(_line_ends(typed.text).strip(), reader.recipient_id)

    async def submit(
        self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, typed: Written, seen: Seen = frozenset()
    ) -> Receipt:
        """Seals the text and queues the reply. Raises InputRefused (DraftChanged when the draft has a version that is not in `seen`),
        FilesUnscanned and FileInfected where the class has come to require a scan, NotFound (also when it was sent already),
        NoLongerReadable; and TooManyTries for new messages, MOST_A_DAY in a day."""
        draft = await self._draft(reader, delivery_id, reply_id)
        written = _line_ends(typed.text).strip()
        labels = await self._fit_to_send(reader, draft)
        if not written and not labels:
            raise ReplyEmpty("Write your reply, or add a file.", "text")
        _check_text(written)
        html = await self._renderer.formatted(written, reader.recipient_id) if typed.formatted and written else ""
        reply = ReplyText("", await self._address(delivery_id), "", "", (), written, tuple(labels), html)
        if typed.fresh:
            subject = plain(typed.subject, MAX_SUBJECT)
            if not subject:
                raise InputRefused("Say what it is about.", "subject")
            _, stored = await self._allowed(reader, delivery_id)
            reply = replace(reply, to=await self._free(stored), subject=subject)
        else:
            answered = await self.answered(reader, delivery_id)
            cover = answered.cover
            assert cover is not None
            thread = (*cover.references, cover.message_id) if cover.message_id else cover.references
            reply = replace(
                reply,
                to=cover.sender,
                subject=reply_subject(cover.heading.subject),
                in_reply_to=cover.message_id,
                references=thread,
                others=answered.others if typed.to_all else (),
            )
        await self._send(reader, draft, reply, seen, fresh=typed.fresh)
        self._wake()
        return Receipt(reply_id, reply)

    # -- below: what the above is made of

    async def _opened(
        self, reader: Reader, delivery_id: DeliveryId, draft: replies.Reply | None
    ) -> tuple[Answered, Written]:
        access, stored = await self._allowed(reader, delivery_id)
        sealed = draft.text_sealed if draft else None
        try:
            opened, found = await self._opener.open(access, [draft.id] if draft and sealed else [])
        except Stale:
            raise NoLongerReadable("it ended between the look and the commit") from None
        if stored.heading_sealed is None:
            raise NoLongerReadable("disposed")
        typed = Written.load(await found[0].read(Kind.DRAFT, sealed)) if sealed else Written("")
        if draft and draft.fresh:
            return Answered(None), replace(typed, fresh=True)
        cover = Cover.load(await opened.read(Kind.HEADING, stored.heading_sealed))
        return Answered(cover, await self._others(access, cover)), typed

    async def _contact(self, org_id: OrgId) -> str | None:
        """Where new messages of an organisation's recipients go; None where it takes none, or not in a domain of its own any more."""
        async with self._db.read() as tx:
            organisation = await orgs.by_id(tx, org_id)
            contact = organisation.contact if organisation else None
            own = contact is not None and contact.rpartition("@")[2] in await orgs.domains(tx, org_id)
        return contact if own else None

    async def _free(self, stored: views.Stored) -> str:
        """Where a new message goes that is kept beside this delivery. Raises NotFound where none is taken, and beside what its reader
        has never opened."""
        contact = await self._contact(stored.target.org_id)
        if contact is None or stored.target.state not in SEEN:
            raise NotFound("no new message can be kept here")
        return contact

    async def _others(self, access: Access, cover: Cover) -> tuple[str, ...]:
        target = access.target
        async with self._db.read() as tx:
            if not await orgs.reply_all_of_message(tx, target.message_id):
                return ()
            organisation = await orgs.by_id(tx, target.org_id)
            domains = set(await orgs.domains(tx, target.org_id)) - {self._own_domain}
        assert organisation is not None
        never = (cover.sender, organisation.mail_from, await self._address(target.delivery_id))
        return others_of((*cover.heading.to, *cover.heading.cc), domains, never)

    async def _address(self, delivery_id: DeliveryId) -> str:
        """The address that a delivery is for."""
        async with self._db.read() as tx:
            recipient = await deliveries.recipient_of(tx, delivery_id)
        assert recipient is not None
        field = Field(recipient.epoch_id, recipient.address_sealed)
        return (await self._fields.open(recipient.org_id, recipient.id, "address", field)).decode()

    async def _writable(self, reader: Reader, delivery_id: DeliveryId) -> views.Stored:
        """As `_allowed`, also below the level that reading asks for: what is sealed there opens at that level only."""
        try:
            _, stored = await self._allowed(reader, delivery_id)
        except AssuranceNeeded:  # on record; so it is hers, and alive
            found = await views.stored(self._db, delivery_id)
            if found is None or not found.reply_allowed:
                raise NotFound("this class of message takes no reply") from None
            return found
        return stored

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

    async def _draft(
        self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, *, fresh: bool = False, below: bool = False
    ) -> replies.Reply:
        """A draft of this delivery, or what it will be once it is begun. Raises NotFound: another's, or sent already; with `fresh`
        also as `_free`."""
        stored = await self._writable(reader, delivery_id) if below else (await self._allowed(reader, delivery_id))[1]
        if fresh:
            await self._free(stored)
        async with self._db.read() as tx:
            reply = await replies.one(tx, reply_id)
        target, now = stored.target, self._source.now()
        draft = replies.Reply(
            reply_id, target.org_id, target.message_id, delivery_id, "draft", None, 0, now, now, fresh=fresh
        )
        if _over(draft, reply):
            raise NotFound("no such draft")
        return reply or draft

    async def _scan(self, draft: replies.Reply) -> Scan | None:
        """What a file goes through; None when nothing is asked of it."""
        async with self._db.read() as tx:
            asked = await orgs.scan_of_message(tx, draft.message_id)
        return await self._scanner.begin() if self._scanner and asked is not ScanClass.OFF else None

    async def _check_scan(self, reader: Reader, draft: replies.Reply, scan: Scan | None) -> bool:
        """Whether a file was found clean. Raises FileInfected and FileUnscanned, once that is on record."""
        async with self._db.read() as tx:
            required = await orgs.scan_of_message(tx, draft.message_id) is ScanClass.REQUIRED
        found = await scan.finding() if scan else Finding(Verdict.UNKNOWN, "no scanner is set")
        if found.verdict is Verdict.CLEAN or (found.verdict is Verdict.UNKNOWN and not required):
            return found.verdict is Verdict.CLEAN
        await self._refuse_file(reader, draft, found)
        if found.verdict is Verdict.INFECTED:
            raise FileInfected("The virus scanner found something in this file.", "files")
        raise FileUnscanned("This file can't be checked for viruses right now. Try again in a few minutes.", "files")

    async def _refuse_file(self, reader: Reader, draft: replies.Reply, found: Finding) -> None:
        stored = await views.stored(self._db, draft.delivery_id)
        assert stored is not None
        about = facts(reader, stored.target, self._source.now())
        await self._db.record(FileRefused(**about, reason=found.verdict.value, said=found.said))

    async def _fit_to_send(self, reader: Reader, draft: replies.Reply) -> list[FileLabel]:
        """The files of a draft. Where its class has come to require a scan (it was raised), those that never had one have it now.

        Raises FilesUnscanned when that can't be, and FileInfected; what is infected leaves the draft, all else stays.
        """
        async with self._db.read() as tx:
            rows = await replies.files(tx, draft.id)
            required = await orgs.scan_of_message(tx, draft.message_id) is ScanClass.REQUIRED
        labels = [await self._label(row) for row in rows]
        if not required:
            return labels
        for at, (row, label) in enumerate(zip(rows, labels, strict=True)):
            if label.clean:
                continue
            found = await self._scan_again(reader, draft, row)
            if found.verdict is Verdict.CLEAN:
                labels[at] = replace(label, clean=True)
                await self._relabel(row, labels[at])
                continue
            await self._refuse_file(reader, draft, found)
            if found.verdict is Verdict.INFECTED:
                await self.detach(reader, draft.delivery_id, draft.id, row.id)
                raise FileInfected("The virus scanner found something in this file.", "files")
            raise FilesUnscanned(
                "The files can't be checked for viruses right now. Try again in a few minutes.", "files"
            )
        return labels

    async def _scan_again(self, reader: Reader, draft: replies.Reply, row: replies.ReplyFile) -> Finding:
        """Has a file that is sealed already scanned: opened for it, on record first, once a scanner is there."""
        if self._scanner is None:
            return Finding(Verdict.UNKNOWN, "no scanner is set")
        try:
            await self._scanner.check()
        except StorageAway as away:
            return Finding(Verdict.UNKNOWN, str(away)[:100])
        _, stored = await self._allowed(reader, draft.delivery_id)
        event = ScanOpened(**facts(reader, stored.target, self._source.now()), file=row.id)
        opened = await self._opener.for_scan(event, reader.recipient_id)
        scan = await self._scanner.begin()
        try:
            stream = await opened.stream(Kind.PART, row.blob_key, row.id)
            try:
                async for piece in stream:
                    await scan.write(piece)
            finally:
                stream.close()
            return await scan.finding()
        finally:
            scan.close()

    async def _relabel(self, row: replies.ReplyFile, label: FileLabel) -> None:
        field = await self._sealer.field(row.org_id, row.id, "label", label.dump())
        async with self._db.bookkeeping() as tx:
            await replies.relabel(tx, replace(row, label_sealed=field.sealed, epoch_id=field.epoch_id))

    async def _label(self, row: replies.ReplyFile) -> FileLabel:
        return FileLabel.load(
            await self._fields.open(row.org_id, row.id, "label", Field(row.epoch_id, row.label_sealed))
        )

    async def _grants(self, reader: Reader, draft: replies.Reply, container: Container) -> list[Statement]:
        thread = Holder(GrantFor.DELIVERY, draft.delivery_id, reader.recipient_id)
        return [add_grant(await container.grant(holder)) for holder in (thread, Holder(GrantFor.HANDOVER, draft.id))]

    async def _append(
        self, reader: Reader, upload: Upload, offset: int, pieces: AsyncIterator[bytes], *, complete: bool
    ) -> FileLabel | None:
        begun = upload.begun
        async with self._db.read() as tx:
            have = await replies.files(tx, begun.reply_id)

        def room() -> int:
            others = [one for one in self._uploads.of(begun.reply_id) if one is not upload]
            return self.limits.max_bytes - sum(row.size for row in have) - sum(one.reserved for one in others)

        await upload.take(offset, pieces, room)
        if not complete:
            return None
        async with upload.writing:  # who asks meanwhile how far it is, hears of the file
            if upload.over:
                raise NotFound("the upload is over")
            if begun.length not in (None, upload.size):
                raise InputRefused("The file came with fewer bytes than were said.", "files")
            return await self._finish(reader, upload, len(have))

    async def _finish(self, reader: Reader, upload: Upload, before: int) -> FileLabel:
        """Makes a whole upload a file of its draft."""
        begun, stream = upload.begun, upload.stream
        upload.over = True
        draft = await self._draft(reader, begun.delivery_id, begun.reply_id, fresh=begun.fresh)
        clean = await self._check_scan(reader, draft, upload.scan)
        await stream.commit()
        name = safe_name(begun.name, str(before + 1), begun.declared)
        label = FileLabel(begun.id, name, sniffed(upload.head), stream.size, upload.digest.hexdigest(), clean)
        try:
            draft = await self._draft(reader, begun.delivery_id, begun.reply_id, fresh=begun.fresh)
            await self._keep(reader, draft, upload.container, stream.key, label)
        except PortalError:
            await self._sealer.blobs.delete(stream.key)
            raise
        self._uploads.done(upload)
        return label

    async def _keep(
        self, reader: Reader, draft: replies.Reply, container: Container, key: BlobKey, label: FileLabel
    ) -> None:
        field = await self._sealer.field(draft.org_id, label.id, "label", label.dump())
        now = self._source.now()
        row = replies.ReplyFile(label.id, draft.org_id, draft.id, key, label.size, field.sealed, field.epoch_id, now)
        allowed = await self._grants(reader, draft, container)
        async with self._db.bookkeeping() as tx:
            # Looked at again under the locks: what is sent side by side keeps to the limits together.
            held = await replies.hold(tx, draft, now)
            if held is None:
                _place(draft, await replies.drafts(tx, draft.delivery_id))
            if _over(draft, held) or not (held or await replies.begin(tx, draft)):
                raise InputRefused("The reply was sent meanwhile, without this file.", "files")
            if label.size > self._room(await replies.files(tx, draft.id), []):
                raise BodyTooLarge("The files together are too large for one reply.", "files")
            await replies.add_file(tx, row, allowed)

    def _room(self, have: list[replies.ReplyFile], coming: list[Upload]) -> int:
        """How many bytes still fit. Raises TooManyFiles."""
        if len(have) + len(coming) >= self.limits.max_files:
            raise TooManyFiles(f"A reply can carry {self.limits.max_files} files.", "files")
        return self.limits.max_bytes - sum(row.size for row in have) - sum(one.reserved for one in coming)

    def _fits(self, upload: Upload, have: list[replies.ReplyFile]) -> bool:
        try:
            return self._room(have, self._uploads.of(upload.begun.reply_id)) >= upload.reserved
        except TooManyFiles:
            return False

    async def _send(self, reader: Reader, draft: replies.Reply, reply: ReplyText, seen: Seen, *, fresh: bool) -> None:
        now = self._source.now()
        container = self._sealer.container(draft.org_id, draft.id)
        sealed = container.seal(Kind.TEXT, reply.dump())
        size = len(reply.text.encode()) + sum(one.size for one in reply.files)
        stored = await views.stored(self._db, draft.delivery_id)
        assert stored is not None
        event = ReplySubmitted(
            **facts(reader, stored.target, now),
            reply_id=draft.id,
            attachments=len(reply.files),
            size=size,
            also_to=tuple(self._sealer.index(draft.org_id, "recipient", one).hex() for one in reply.others),
            fresh=fresh,
        )
        allowed = await self._grants(reader, draft, container)
        try:
            async with self._db.write(event) as tx:
                held = await replies.hold(tx, draft, now)
                if held and held.state == "draft" and held.version and held.version not in seen:
                    raise DraftChanged("This reply was changed in another window.", "text")
                if {row.id for row in await replies.files(tx, draft.id)} != {one.id for one in reply.files}:
                    raise FilesChanged("The files changed meanwhile. Look at them, then send the reply.", "files")
                asked = await orgs.scan_of_message(tx, draft.message_id)  # raised since it was looked at: once more
                if asked is ScanClass.REQUIRED and not all(one.clean for one in reply.files):
                    raise FilesChanged("What is asked of files changed meanwhile. Send the reply once more.", "files")
                if _over(draft, held) or not (held or await replies.begin(tx, draft)):
                    raise NotFound("the draft was sent already")
                if fresh:
                    _check_often(await replies.sent_since(tx, reader.recipient_id, now - _DAY), now)
                if not await replies.submit(tx, held or draft, sealed, size, allowed):
                    raise NotFound("the draft was sent already")
                if not fresh and not await deliveries.replied(tx, draft.delivery_id):
                    raise NoLongerReadable("it ended while the reply was being written")
                await outbox.enqueue(tx, self._job(draft))
        except Duplicate:
            raise NotFound("the id is something else's") from None

    def _job(self, draft: replies.Reply) -> outbox.Job:
        now = self._source.now()
        return outbox.job_for(
            self._source.new_id(), draft.org_id, MailKind.REPLY, draft.delivery_id, now, subject_id=draft.id
        )


def _check_often(sent: list[datetime], now: datetime) -> None:
    """Raises TooManyTries for one message more than a day may have."""
    if len(sent) >= MOST_A_DAY:
        raise TooManyTries("too many messages in a day", sent[-MOST_A_DAY] + _DAY - now)


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT or _CONTROLS.search(text):
        raise InputRefused(
            "The text is too long or has signs that can't be sent. Shorten it, or add it as a file.", "text"
        )


def _over(draft: replies.Reply, found: replies.Reply | None) -> bool:
    """Whether what is kept under a draft's id can't be written to: it was sent, or answers another delivery."""
    return found is not None and (found.delivery_id, found.state) != (draft.delivery_id, "draft")


def _place(draft: replies.Reply, begun: set[ReplyId], most: int = MAX_DRAFTS) -> None:
    """Raises TooManyDrafts when a draft is not among those of its delivery, and can't be one more."""
    if draft.id not in begun and len(begun) >= most:
        raise TooManyDrafts("There are too many unsent replies. Send one, or throw one away.", "files")
