"""Files on their way in: sealed as they come, and gone on with where the connection broke.

"Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload) asks for an upload that outlives its request and says how far
it is. The state of the sealer is that upload: it is kept in this process, some minutes after the last piece. A restart, or another
process, knows nothing of it, and the file is sent from its beginning. Refused: sealed pieces of an upload as objects of their own,
which would outlive a restart at the price of a second way to read every attachment.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.model.errors import BodyTooLarge, NotFound, TooManyFiles, UploadOffset
from portal.model.ids import DeliveryId, RecipientId, ReplyId
from portal.scan import Scan
from portal.sealing.seal import Container, SealedStream

IDLE = timedelta(minutes=10)
"""How long an upload waits for its next piece."""
LEFT_LYING = timedelta(seconds=30)
"""After so long without a piece an upload makes way for another one of its draft that has no room otherwise: its page is gone,
as far as anybody can tell, and nobody sends the rest."""
MOST_OPEN = 256
"""Uploads in one process; each holds a file open, and up to half a megabyte of sealed bytes."""
MOST_OF_ONE = 32
"""Uploads of one recipient: what a page sends side by side, in the windows somebody may have."""
_SNIFFED_BYTES = 8192


@dataclass(frozen=True)
class Begun:
    """What is known of an upload before its first byte. `length` is what was said, in bytes; None where nothing was."""

    id: str
    recipient_id: RecipientId
    delivery_id: DeliveryId
    reply_id: ReplyId
    name: str
    declared: str
    length: int | None
    fresh: bool = False


class Upload:
    """One file. `take` is the only place where its bytes pass; `Compose` keeps it when all are there."""

    def __init__(
        self,
        begun: Begun,
        container: Container,
        stream: SealedStream,
        scan: Scan | None,
        now: Callable[[], datetime],
    ) -> None:
        self.begun, self.container, self.stream, self.scan = begun, container, stream, scan
        self.digest, self.head = hashlib.sha256(), b""
        self.writing = asyncio.Lock()
        """Held for a piece, and while the file is kept."""
        self.over = False
        """Kept, given up, or broken off inside a piece: nothing more is taken."""
        self.sending = 0
        self._now = now
        self.touched_at = now()
        self._turn = 0

    @property
    def size(self) -> int:
        return self.stream.size

    @property
    def reserved(self) -> int:
        """What it takes of the room there is, in bytes."""
        return max(self.size, self.begun.length or 0)

    async def standing(self) -> int:
        """Bytes that are sealed. Whoever still sends is stopped: a broken connection is often noticed by its client first."""
        self._turn += 1
        async with self.writing:
            return self.size

    async def take(self, offset: int, pieces: AsyncIterator[bytes], room: Callable[[], int]) -> None:
        """Seals what follows the first `offset` bytes. Raises UploadOffset, also when somebody else asked meanwhile; BodyTooLarge
        for more than `room` gives for it, or than was said; NotFound when it is over."""
        if offset != await self.standing():
            raise UploadOffset(self.size)
        turn = self._turn
        self.sending += 1
        try:
            async for piece in pieces:
                async with self.writing:
                    self._check(turn, self.size + len(piece), room())
                    await self._seal(piece)
        finally:
            self.sending -= 1

    def _check(self, turn: int, size: int, room: int) -> None:
        if self.over:
            raise NotFound("the upload is over")
        if turn != self._turn:
            raise UploadOffset(self.size)
        if size > room or (self.begun.length is not None and size > self.begun.length):
            raise BodyTooLarge("The files together are too large for one reply.", "files")

    async def _seal(self, piece: bytes) -> None:
        self.over = True  # unless the piece is sealed and written whole
        self.digest.update(piece)
        self.head += piece[: _SNIFFED_BYTES - len(self.head)]
        await self.stream.write(piece)
        if self.scan is not None:
            await self.scan.write(piece)
        self.over = False
        self.touched_at = self._now()


class Uploads:
    """The uploads of this process."""

    def __init__(self) -> None:
        self._open: dict[str, Upload] = {}
        self._dropping: set[asyncio.Task[None]] = set()

    def add(self, upload: Upload) -> None:
        """Raises TooManyFiles."""
        begun = upload.begun
        if self._of_each()[begun.recipient_id] >= MOST_OF_ONE or len(self._open) >= MOST_OPEN:
            raise TooManyFiles("Too many files are being sent at once.", "files")
        self._open[begun.id] = upload
        self._look_later(upload)

    def get(self, delivery_id: DeliveryId, reply_id: ReplyId, file_id: str) -> Upload | None:
        """None: there is none, or another's."""
        found = self._open.get(file_id)
        mine = found and (found.begun.delivery_id, found.begun.reply_id) == (delivery_id, reply_id)
        return found if mine else None

    def of(self, reply_id: ReplyId) -> list[Upload]:
        """The uploads of one draft, the oldest first."""
        return [one for one in self._open.values() if one.begun.reply_id == reply_id]

    def done(self, upload: Upload) -> None:
        self._open.pop(upload.begun.id, None)
        if upload.scan is not None:
            upload.scan.close()

    async def drop(self, upload: Upload) -> None:
        self.done(upload)
        async with upload.writing:
            upload.over = True
            await upload.stream.abort()

    async def make_room(self, reply_id: ReplyId, before: datetime) -> None:
        """Gives up what a draft has waiting since `before`."""
        for one in self.of(reply_id):
            if not one.sending and one.touched_at < before:
                await self.drop(one)

    async def make_way(self, recipient_id: RecipientId, before: datetime) -> None:
        """Gives up the upload that has waited longest, if that is since `before`: a person's own where she has all that one may have;
        where all are taken, that of whoever has most."""
        have = self._of_each()
        waiting = [one for one in self._open.values() if not one.sending and one.touched_at < before]
        if have[recipient_id] >= MOST_OF_ONE:
            waiting = [one for one in waiting if one.begun.recipient_id == recipient_id]
        elif len(self._open) < MOST_OPEN:
            return
        if waiting:
            await self.drop(min(waiting, key=lambda one: (-have[one.begun.recipient_id], one.touched_at)))

    async def forget(self, before: datetime) -> None:
        """Gives up what was last sent to before `before`."""
        for one in [one for one in self._open.values() if one.touched_at < before]:
            await self.drop(one)

    def _of_each(self) -> Counter[RecipientId]:
        return Counter(one.begun.recipient_id for one in self._open.values())

    def _look_later(self, upload: Upload) -> None:
        asyncio.get_running_loop().call_later(IDLE.total_seconds(), self._look, upload, upload.touched_at)

    def _look(self, upload: Upload, then: datetime) -> None:
        """A quiet portal keeps no key of a file that nobody goes on with."""
        if self._open.get(upload.begun.id) is not upload:
            return
        if upload.touched_at > then:
            self._look_later(upload)
        else:
            dropping = asyncio.get_running_loop().create_task(self.drop(upload))
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
