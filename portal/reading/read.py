"""Opens what a person may read: decided by `may_read`, on record before it is opened.

Foreign and never existed are one and the same from outside.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from portal.clock import Source
from portal.db import audit, messages, replies, views
from portal.db.engine import Database, Stale
from portal.db.views import Stored
from portal.mime import VERSION, Part, Renderer, Rendition
from portal.mime.cover import Cover
from portal.mime.names import TEXT, as_text, preview_type
from portal.mime.wire import load
from portal.model.access import Access, Deny, Purpose, Reader, facts, may_read
from portal.model.errors import AssuranceNeeded, ContentDamaged, NoLongerReadable, NotFound, StorageAway
from portal.model.events import InboxListed, ReadDenied, Who
from portal.model.ids import BlobKey, DeliveryId, ReplyId
from portal.model.message import READABLE, STOPPED, DeliveryState
from portal.model.reply import FileLabel, ReplyText
from portal.sealing import Field, Kind
from portal.sealing.open import Fields, Opened, Opener, OpenStream
from portal.sealing.prepare import prepare
from portal.sealing.seal import Sealer

R = TypeVar("R")
INBOX_PAGE = 25
_WITH_REPLIES = (Purpose.SUMMARY, Purpose.PRINT, Purpose.PDF)
LOOK_AGAIN = timedelta(milliseconds=250)
"""How often a running download is held against its delivery: a revoke ends it within a second."""


@dataclass(frozen=True)
class SentReply:
    """A reply in the thread."""

    id: ReplyId
    at: datetime
    state: str
    text: ReplyText
    left_out: int
    fresh: bool


@dataclass(frozen=True)
class View:
    """A message as it is shown."""

    stored: Stored
    cover: Cover
    rendition: Rendition
    replies: tuple[SentReply, ...]
    history: tuple[audit.Seen, ...]
    drafts: tuple[tuple[ReplyId, datetime], ...] = ()
    """Replies that were begun and not sent, and when: nothing of them is opened."""

    @property
    def sessions(self) -> set[str]:
        """In which sessions it was seen."""
        return {one.session for one in self.history if one.session}


@dataclass(frozen=True)
class InboxLine:
    """A delivery in the inbox; `cover` is None when the message is over or damaged."""

    line: views.Line
    state: DeliveryState
    cover: Cover | None


@dataclass(frozen=True)
class Download:
    """Content on its way out: a name, what it is, its size in bytes, and the pieces.

    `tag` changes when the bytes do. `cut` leaves only some of them, and `close` gives up; each before the first piece is read.
    """

    name: str
    media_type: str
    size: int
    pieces: AsyncIterator[bytes]
    tag: str
    cut: Callable[[int, int], None]
    close: Callable[[], None]


class Reading:
    """See the module. Holds the Opener: handed to the web role only."""

    def __init__(
        self, db: Database, opener: Opener, fields: Fields, sealer: Sealer, renderer: Renderer, source: Source
    ) -> None:
        self._db, self._opener, self._fields = db, opener, fields
        self._sealer, self._renderer, self._source = sealer, renderer, source

    async def inbox(self, reader: Reader, before: DeliveryId | None) -> tuple[list[InboxLine], DeliveryId | None]:
        """A page of the reader's messages, newest first, and the id to go on from."""
        now = self._source.now()
        lines = await views.inbox(self._db, reader.org_id, reader.recipient_id, before, INBOX_PAGE + 1)
        more, lines = len(lines) > INBOX_PAGE, lines[:INBOX_PAGE]
        decisions = [may_read(reader, line.target, Purpose.SUMMARY, now) for line in lines]
        allowed = [one for one in decisions if isinstance(one, Access)]
        event = InboxListed(
            at=now,
            who=Who.RECIPIENT,
            actor=reader.recipient_id,
            org_id=reader.org_id,
            session=reader.session,
            origin=reader.origin,
            deliveries=tuple(one.target.delivery_id for one in allowed),
        )
        opened = iter(await self._opener.listed(allowed, event))
        shown = []
        for line, decision in zip(lines, decisions, strict=True):
            found = next(opened) if isinstance(decision, Access) else None
            cover = await self._listed(found, line.heading_sealed) if found else None
            ended = line.target.state in READABLE and now >= line.target.expires_at
            shown.append(InboxLine(line, DeliveryState.EXPIRED if ended else line.target.state, cover))
        return shown, lines[-1].target.delivery_id if more else None

    async def message(self, reader: Reader, delivery_id: DeliveryId, purpose: Purpose) -> View:
        """A message for its page, its framed body, or print. Raises NotFound, NoLongerReadable, AssuranceNeeded."""
        sent = await replies.of_delivery(self._db, delivery_id) if purpose in _WITH_REPLIES else []
        thread_ids = [one.id for one in sent]
        access, stored, (opened, thread) = await self._released(
            reader, delivery_id, purpose, "", lambda access: self._opener.open(access, thread_ids)
        )
        cover = await _cover(opened, stored.heading_sealed)
        rendition = await self._rendition(opened, stored, access)
        shown = tuple([await _reply(one, reply) for one, reply in zip(thread, sent, strict=True)])
        history = tuple(await audit.seen(self._db, delivery_id, access.at)) if purpose is Purpose.SUMMARY else ()
        drafts = await replies.unsent(self._db, delivery_id) if purpose is Purpose.SUMMARY else []
        return View(stored, cover, rendition, shown, history, tuple(drafts))

    async def paper(self, view: View, sheet: bytes) -> bytes | None:
        """A PDF of what was opened for it (`Purpose.PDF`), or None where none can be made. Raises NoLongerReadable."""
        pdf = await self._renderer.paper(sheet, view.stored.target.recipient_id)
        if not await views.still_readable(self._db, view.stored.target.delivery_id, self._source.now()):
            raise NoLongerReadable("it ended while its PDF was made")
        return pdf

    async def attachment(self, reader: Reader, delivery_id: DeliveryId, part_id: str) -> Download:
        """An attachment of the message. Raises NotFound when it has none of that id."""
        part, opened, key = await self._part(reader, delivery_id, Purpose.ATTACHMENT, part_id)
        return await self._download(part.name, part.media_type, opened, Kind.PART, key, part_id, delivery_id)

    async def preview(self, reader: Reader, delivery_id: DeliveryId, part_id: str) -> Download:
        """An attachment for the browser to show: a picture or PDF by its signature, or plain text, as UTF-8.

        Raises NotFound for anything else, and where the message's class wants attachments downloaded only.
        """
        part, opened, key = await self._part(reader, delivery_id, Purpose.PREVIEW, part_id)
        shown_as = preview_type(part.media_type, part.declared, part.size)
        if shown_as is None:
            raise NotFound("no such preview")
        if shown_as != TEXT:
            return await self._download(part.name, shown_as, opened, Kind.PART, key, part_id, delivery_id)
        stream = await opened.stream(Kind.PART, key, part_id)
        text = as_text(b"".join([piece async for piece in self._pieces(stream, delivery_id)]))
        if text is None:
            raise NotFound("no text after all")
        content = text.encode()
        return Download(part.name, f"{TEXT}; charset=utf-8", len(content), _one(content), "", _whole, _nothing)

    async def _part(
        self, reader: Reader, delivery_id: DeliveryId, purpose: Purpose, part_id: str
    ) -> tuple[Part, Opened, BlobKey]:
        _, looked_up = await self._decided(reader, delivery_id, purpose, part_id)
        kept = await messages.part(self._db, looked_up.target.message_id, part_id)
        if kept is None or (purpose is Purpose.PREVIEW and not looked_up.previews):
            raise NotFound("no such attachment")
        access, stored, (opened, _) = await self._released(reader, delivery_id, purpose, part_id, self._opener.open)
        rendition = await self._rendition(opened, stored, access)
        part = next((one for one in rendition.parts if one.id == part_id), None)
        if stored.rendition_version != VERSION:
            kept = await messages.part(self._db, looked_up.target.message_id, part_id)
        if part is None or kept is None:
            raise NotFound("no such attachment")
        return part, opened, kept.blob_key

    async def reply_attachment(
        self, reader: Reader, delivery_id: DeliveryId, reply_id: ReplyId, file_id: str
    ) -> Download:
        """An attachment of a reply the reader sent."""
        await self._decided(reader, delivery_id, Purpose.ATTACHMENT, file_id)
        async with self._db.read() as tx:
            reply = await replies.one(tx, reply_id)
            found = [one for one in await replies.files(tx, reply_id) if one.id == file_id]
        if reply is None or reply.delivery_id != delivery_id or reply.state == "draft" or not found:
            raise NotFound("no such attachment")
        label = FileLabel.load(
            await self._fields.open(reader.org_id, file_id, "label", Field(found[0].epoch_id, found[0].label_sealed))
        )
        _, _, opened = await self._released(
            reader, delivery_id, Purpose.ATTACHMENT, file_id, lambda access: self._opener.open_file(access, reply_id)
        )
        key = found[0].blob_key
        return await self._download(label.name, label.media_type, opened, Kind.PART, key, file_id, delivery_id)

    async def original(self, reader: Reader, delivery_id: DeliveryId) -> Download:
        """The message as it was received, byte for byte."""
        _, stored, (opened, _) = await self._released(reader, delivery_id, Purpose.ORIGINAL, "", self._opener.open)
        key = _blob_key(stored)
        return await self._download("message.eml", "message/rfc822", opened, Kind.ORIGINAL, key, "", delivery_id)

    async def _download(
        self,
        name: str,
        media_type: str,
        opened: Opened,
        kind: Kind,
        key: BlobKey,
        part_id: str,
        delivery_id: DeliveryId,
    ) -> Download:
        stream = await opened.stream(kind, key, part_id)
        tag = hashlib.sha256(key.encode()).hexdigest()[:16]
        return Download(name, media_type, stream.size, self._pieces(stream, delivery_id), tag, stream.cut, stream.close)

    async def denied(self, reader: Reader, delivery_id: DeliveryId) -> Stored | None:
        """What the page of an ended delivery says; None, and on record, when it is not the reader's."""
        stored = await views.stored(self._db, delivery_id)
        hers = stored and (stored.target.org_id, stored.target.recipient_id) == (reader.org_id, reader.recipient_id)
        if stored and hers and stored.target.state not in STOPPED:
            return stored
        await self._deny(reader, self._source.now(), "stopped" if hers else "foreign")
        return None

    # -- the door

    async def _decided(
        self, reader: Reader, delivery_id: DeliveryId, purpose: Purpose, part: str
    ) -> tuple[Access, Stored]:
        stored = await views.stored(self._db, delivery_id)
        now = self._source.now()
        if stored is None:
            await self._deny(reader, now, "foreign")
            raise NotFound("no such delivery")
        decision = may_read(reader, stored.target, purpose, now, part)
        if isinstance(decision, Access):
            return decision, stored
        await self._refuse(reader, stored, decision, now)
        raise AssertionError("unreachable")

    async def _released(
        self,
        reader: Reader,
        delivery_id: DeliveryId,
        purpose: Purpose,
        part: str,
        release: Callable[[Access], Awaitable[R]],
    ) -> tuple[Access, Stored, R]:
        for _ in range(2):
            access, stored = await self._decided(reader, delivery_id, purpose, part)
            try:
                return access, stored, await release(access)
            except Stale:  # it ended between the look and the commit: look again, and deny
                continue
        raise StorageAway("the delivery keeps changing")

    async def _refuse(self, reader: Reader, stored: Stored, deny: Deny, now: datetime) -> None:
        if deny.reason == "foreign":
            await self._deny(reader, now, "foreign")
            raise NotFound("another's delivery")
        await self._db.record(ReadDenied(**facts(reader, stored.target, now), reason=deny.reason))
        if deny.reason == "assurance":
            raise AssuranceNeeded(f"needs assurance {deny.needed}")
        if deny.reason == "stopped":  # nobody was told of it: it never existed
            raise NotFound("stopped by the virus scanner")
        raise NoLongerReadable(deny.reason)

    async def _deny(self, reader: Reader, now: datetime, reason: str) -> None:
        event = ReadDenied(
            at=now,
            who=Who.RECIPIENT,
            actor=reader.recipient_id,
            org_id=reader.org_id,
            session=reader.session,
            origin=reader.origin,
            reason=reason,
        )
        await self._db.record(event)

    # -- content

    async def _rendition(self, opened: Opened, stored: Stored, access: Access) -> Rendition:
        if stored.rendition_sealed is not None and stored.rendition_version == VERSION:
            return load(await opened.read(Kind.RENDITION, stored.rendition_sealed))
        stream = await self._stream_original(opened, stored)
        try:
            container = opened.container(self._sealer)
            rendition = await prepare(
                self._db, self._renderer, container, stream, access.at, whose=access.reader.recipient_id
            )
        finally:
            stream.close()
        if not await views.still_readable(self._db, stored.target.delivery_id, self._source.now()):
            raise NoLongerReadable("it ended while it was being prepared")
        return rendition

    async def _listed(self, opened: Opened, heading_sealed: bytes | None) -> Cover | None:
        try:
            return await _cover(opened, heading_sealed)
        except (ContentDamaged, NoLongerReadable):
            return None

    async def _stream_original(self, opened: Opened, stored: Stored) -> OpenStream:
        return await opened.stream(Kind.ORIGINAL, _blob_key(stored))

    async def _pieces(self, stream: OpenStream, delivery_id: DeliveryId) -> AsyncIterator[bytes]:
        """The pieces of a download, which ends when its delivery does."""
        looked = self._source.now()
        try:
            async for piece in stream:
                yield piece
                now = self._source.now()
                if now - looked >= LOOK_AGAIN:
                    looked = now
                    if not await views.still_readable(self._db, delivery_id, now):
                        raise NoLongerReadable("it ended during the download")
        finally:
            stream.close()


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _whole(start: int, stop: int) -> None:
    raise ValueError("a text is shown whole")


def _nothing() -> None:
    """There is nothing to give up."""


def _blob_key(stored: Stored) -> BlobKey:
    if stored.blob_key is None:
        raise NoLongerReadable("disposed")
    return stored.blob_key


async def _cover(opened: Opened, sealed: bytes | None) -> Cover:
    if sealed is None:
        raise NoLongerReadable("disposed")
    return Cover.load(await opened.read(Kind.HEADING, sealed))


async def _reply(opened: Opened, reply: replies.Reply) -> SentReply:
    text = ReplyText.load(await opened.read(Kind.TEXT, reply.text_sealed or b""))
    return SentReply(reply.id, reply.submitted_at or reply.begun_at, reply.state, text, reply.left_out, reply.fresh)
