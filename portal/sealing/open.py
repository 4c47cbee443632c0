"""The one door to plaintext: `Opener.open(access)` puts the view on record, *then* unwraps the key.

Content released => event durable. A crash between the two over-reports a view; that is the safe side. When the content then
does not open, `OpenFailed` follows. What comes back opens only what the access was for.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.blobs import BlobReader, BlobStore
from portal.clock import Source
from portal.db import graduations, views
from portal.db.engine import Database
from portal.db.grants import EPOCH, FOR_READER
from portal.envelope import Damaged, RandomReader, open_sealed
from portal.keys import Unwrapper, WrappedKey
from portal.model.access import Access, Purpose
from portal.model.errors import ContentDamaged, NoLongerReadable, NotFound, PortalError
from portal.model.events import (
    AttachmentOpened,
    Event,
    GraduationOpened,
    InboxListed,
    InboxSearched,
    MessageOpened,
    OpenFailed,
    OriginalDownloaded,
    ReplyOpened,
    ScanOpened,
)
from portal.model.ids import BlobKey, EpochId, OrgId, RecipientId, ReplyId
from portal.sealing import Field, GrantFor, Holder, Kind, field_aad, grant_aad, object_context
from portal.sealing.seal import Container, Sealer

_MESSAGE = frozenset({Kind.HEADING, Kind.RENDITION, Kind.ORIGINAL, Kind.TEXT})
_OPENS: dict[Purpose, frozenset[Kind]] = {
    Purpose.SUMMARY: _MESSAGE,
    Purpose.BODY: _MESSAGE,
    Purpose.PRINT: _MESSAGE,
    Purpose.PDF: _MESSAGE,
    Purpose.QUOTE: frozenset({Kind.HEADING, Kind.DRAFT}),
    Purpose.SEARCH: frozenset({Kind.HEADING, Kind.RENDITION}),
    # The original too: where the rendition is of an earlier version, the attachment is decoded anew.
    Purpose.ATTACHMENT: frozenset({Kind.PART, Kind.RENDITION, Kind.ORIGINAL}),
    Purpose.PREVIEW: frozenset({Kind.PART, Kind.RENDITION, Kind.ORIGINAL}),
    Purpose.ORIGINAL: frozenset({Kind.ORIGINAL, Kind.HEADING}),
}
_NONCE = 12
Failed = Callable[[Exception], Awaitable[None]]
"""Puts on record that what an event announced did not open."""


class Opened:
    """An open container: reads the kinds of object that its access was for, and no others. Forget it with the request.

    What turns out to be damaged is on record before the error leaves.
    """

    def __init__(
        self,
        org_id: OrgId,
        container_id: str,
        dek: bytes,
        kinds: frozenset[Kind],
        part: str | None,
        blobs: BlobStore,
        failed: Failed,
    ) -> None:
        """`part` is the one attachment that may be opened; None means any."""
        self._org_id, self._container_id, self._dek = org_id, container_id, dek
        self._kinds, self._part, self._blobs, self._failed = kinds, part, blobs, failed

    def _context(self, kind: Kind, part_id: str) -> bytes:
        if kind not in self._kinds or (kind is Kind.PART and self._part not in (None, part_id)):
            raise PermissionError(f"this access does not open {kind} {part_id}")
        return object_context(self._org_id, self._container_id, kind, part_id)

    async def read(self, kind: Kind, sealed: bytes, part_id: str = "") -> bytes:
        """A small object. Raises ContentDamaged."""
        try:
            return open_sealed(self._dek, self._context(kind, part_id), sealed)
        except Damaged as damage:
            raise await self._damaged(kind, damage) from damage

    async def stream(self, kind: Kind, key: BlobKey, part_id: str = "") -> "OpenStream":
        """An object in the blob store. Raises ContentDamaged, also when it is lost, and StorageAway. Close it."""
        context = self._context(kind, part_id)
        try:
            blob = await self._blobs.open(key)
        except NotFound as lost:
            raise await self._damaged(kind, lost) from lost
        except PortalError as error:
            await self._failed(error)
            raise
        try:
            return OpenStream(RandomReader(self._dek, context, blob.read_at, blob.size), blob, self._failed)
        except Damaged as damage:
            blob.close()
            raise await self._damaged(kind, damage) from damage

    async def _damaged(self, kind: Kind, cause: Exception) -> ContentDamaged:
        error = ContentDamaged(f"{kind} of {self._container_id}: {cause}")
        await self._failed(error)
        return error

    def container(self, sealer: Sealer) -> Container:
        """The same container for sealing, to keep a rendition that was made for this view."""
        return Container(sealer, self._org_id, self._container_id, self._dek)


class OpenStream:
    """Authenticated plaintext of a blob, piece by piece (up to 256 KiB)."""

    def __init__(self, reader: RandomReader, blob: BlobReader, failed: Failed) -> None:
        """Raises Damaged."""
        self._reader, self._blob, self._failed = reader, blob, failed
        self.size = reader.size
        self._pieces = reader.chunks()

    def cut(self, start: int, stop: int) -> None:
        """Only the bytes from `start` up to `stop`, each authenticated all the same; before the first piece is read."""
        self._pieces = self._reader.chunks(start, stop)

    def __aiter__(self) -> "OpenStream":
        return self

    async def __anext__(self) -> bytes:
        """Raises ContentDamaged, once that is on record; what came before was whole."""
        try:
            return next(self._pieces)
        except StopIteration:
            raise StopAsyncIteration from None
        except Damaged as damage:
            error = ContentDamaged(str(damage))
            await self._failed(error)
            raise error from damage

    def close(self) -> None:
        self._blob.close()


class EpochKeys:
    """Unwrapped epoch keys, kept for a few minutes so that a page of subjects does not cost a page of HPKE openings."""

    def __init__(self, db: Database, unwrapper: Unwrapper, source: Source, keep: timedelta) -> None:
        self._db, self._unwrapper, self._source, self._keep = db, unwrapper, source, keep
        self._known: dict[EpochId, tuple[datetime, AESGCM]] = {}

    async def get(self, org_id: OrgId, epoch_id: EpochId) -> AESGCM:
        """Raises KeysAway, and ContentDamaged when the epoch is gone or another organisation's."""
        now = self._source.now()
        known = self._known.get(epoch_id)
        if known and now < known[0]:
            return known[1]
        row = await self._db.row(EPOCH, id=epoch_id)
        if row is None or row[0] != org_id:
            raise ContentDamaged(f"epoch {epoch_id} is not one of organisation {org_id}")
        key = AESGCM(await self._unwrapper.unwrap(org_id, epoch_id, WrappedKey(row[1], row[2], row[3])))
        if self._keep:
            self._known = {id_: entry for id_, entry in self._known.items() if now < entry[0]}
            self._known[epoch_id] = (now + self._keep, key)
        return key


class Opener:
    """See the module. Holds the Unwrapper; handed to reading (web), and to replies, rescans and graduation (worker) only."""

    def __init__(self, db: Database, blobs: BlobStore, epochs: EpochKeys, source: Source) -> None:
        self._db, self._blobs, self._epochs, self._source = db, blobs, epochs, source
        self.unwrapped = 0
        """How many DEKs this process has unwrapped: `portal audit verify` and the tests hold it against the record."""

    async def open(self, access: Access, thread: Sequence[ReplyId] = ()) -> tuple[Opened, list[Opened]]:
        """Opens a message for one purpose, and with it the replies of its thread that the page shows.

        Raises Stale (portal/db) when the delivery ended meanwhile: decide again. Raises ContentDamaged or KeysAway, and puts
        OpenFailed on record, when a grant does not open.
        """
        event = _event(access, None, thread)
        await self._db.commit(views.opened(event, access.target))
        message = await self._opened(access, access.target.message_id, event)
        return message, [await self._opened(access, reply_id, event) for reply_id in thread]

    async def open_file(self, access: Access, reply_id: ReplyId) -> Opened:
        """Opens the attachment `access.part` of a reply. Raises as `open`."""
        event = _event(access, reply_id, ())
        await self._db.commit(views.opened(event, access.target))
        return await self._opened(access, access.part, event)

    async def listed(self, accesses: Sequence[Access], event: InboxListed | InboxSearched) -> list[Opened | None]:
        """Opens many messages, to list or to search them, under one event that names them all; None where one does not open."""
        await self._db.record(event)
        return [await self._listed_one(access, event) for access in accesses]

    async def handover(self, event: ReplyOpened, container_ids: Sequence[str]) -> list[Opened]:
        """Opens a reply and its attachments so that the worker can hand them to the sender."""
        assert event.org_id is not None
        await self._db.record(event)
        kinds = frozenset({Kind.TEXT, Kind.PART})
        return [
            await self._unwrapped(
                event, event.org_id, container_id, Holder(GrantFor.HANDOVER, event.reply_id), kinds, None
            )
            for container_id in container_ids
        ]

    async def for_scan(self, event: ScanOpened, recipient_id: RecipientId) -> Opened:
        """Opens the original of a message, or a file for a reply to it, by one of its deliveries, to have it scanned. Raises as
        `open`."""
        assert event.org_id is not None
        assert event.message_id is not None
        assert event.delivery_id is not None
        await self._db.record(event)
        holder = Holder(GrantFor.DELIVERY, event.delivery_id, recipient_id)
        if event.file is not None:
            return await self._unwrapped(event, event.org_id, event.file, holder, frozenset({Kind.PART}), event.file)
        return await self._unwrapped(event, event.org_id, event.message_id, holder, frozenset({Kind.ORIGINAL}), None)

    async def for_graduation(self, event: GraduationOpened, recipient_id: RecipientId) -> Opened:
        """Opens the original of a delivery that goes out by the relay. Raises as `open`; Stale when it was given back meanwhile."""
        assert event.org_id is not None
        assert event.message_id is not None
        assert event.delivery_id is not None
        await self._db.commit(graduations.opened(event))
        holder = Holder(GrantFor.DELIVERY, event.delivery_id, recipient_id)
        return await self._unwrapped(event, event.org_id, event.message_id, holder, frozenset({Kind.ORIGINAL}), None)

    async def _listed_one(self, access: Access, event: Event) -> Opened | None:
        try:
            return await self._opened(access, access.target.message_id, event)
        except (ContentDamaged, NoLongerReadable):
            return None

    async def _opened(self, access: Access, container_id: str, event: Event) -> Opened:
        target, kinds = access.target, _OPENS[access.purpose]
        holder = Holder(GrantFor.DELIVERY, target.delivery_id, target.recipient_id)
        return await self._unwrapped(event, target.org_id, container_id, holder, kinds, access.part)

    async def _unwrapped(
        self,
        event: Event,
        org_id: OrgId,
        container_id: str,
        holder: Holder,
        kinds: frozenset[Kind],
        part: str | None,
    ) -> Opened:
        try:
            dek = await self._dek(org_id, container_id, holder)
        except PortalError as error:
            await self.failed(event, error)
            raise
        return Opened(org_id, container_id, dek, kinds, part, self._blobs, partial(self.failed, event))

    async def failed(self, event: Event, error: Exception) -> None:
        """Puts on record that what `event` announced did not open."""
        facts = event.facts()
        facts["at"] = self._source.now()
        await self._db.record(OpenFailed(**facts, reason=type(error).__name__))

    async def _dek(self, org_id: OrgId, container_id: str, holder: Holder) -> bytes:
        reader, reader_id = holder.reader, holder.reader_id
        row = await self._db.row(FOR_READER, container_id=container_id, reader=reader.value, reader_id=reader_id)
        if row is None:
            raise NoLongerReadable(f"no grant of {container_id} is left for {reader} {reader_id}")
        _, epoch_id, wrapped = row
        key = await self._epochs.get(org_id, epoch_id)
        try:
            dek = key.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], grant_aad(org_id, container_id, holder, epoch_id))
        except InvalidTag:
            raise ContentDamaged(f"the grant of {container_id} for {reader} {reader_id} does not open") from None
        self.unwrapped += 1
        return dek


class Fields:
    """Opens the small sealed fields of rows: where a notice goes, which code a mail says. Holds no way to content."""

    def __init__(self, epochs: EpochKeys) -> None:
        self._epochs = epochs

    async def open(self, org_id: OrgId, row_id: str, kind: str, field: Field) -> bytes:
        key = await self._epochs.get(org_id, field.epoch_id)
        try:
            aad = field_aad(org_id, row_id, kind, field.epoch_id)
            return key.decrypt(field.sealed[:_NONCE], field.sealed[_NONCE:], aad)
        except InvalidTag:
            raise ContentDamaged(f"the {kind} of {row_id} does not open") from None


def _event(
    access: Access, reply_id: ReplyId | None, thread: Sequence[ReplyId]
) -> MessageOpened | AttachmentOpened | OriginalDownloaded:
    facts, assurance = access.facts(), int(access.reader.assurance)
    match access.purpose:
        case Purpose.ATTACHMENT | Purpose.PREVIEW:
            way = "preview" if access.purpose is Purpose.PREVIEW else "download"
            return AttachmentOpened(**facts, part=access.part, assurance=assurance, reply_id=reply_id, way=way)
        case Purpose.ORIGINAL:
            return OriginalDownloaded(**facts, assurance=assurance)
        case _:
            return MessageOpened(**facts, part=access.purpose.value, assurance=assurance, replies=tuple(thread) or None)
