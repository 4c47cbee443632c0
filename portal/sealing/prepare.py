"""Makes a message's rendition and seals it, so that opening the message parses nothing.

Runs right after acceptance, while the plaintext is still in hand, or else for the first view, under that view's own event.
Blobs first, rows then: a crash between leaves orphans for the sweeper, and the rendition is made anew.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from portal.db import messages
from portal.db.engine import Database
from portal.mime import Renderer, Rendition
from portal.mime.wire import dump
from portal.model.errors import PortalError
from portal.model.ids import MessageId, PartId
from portal.sealing import Kind
from portal.sealing.seal import Container, SealedStream


class _SealingSink:
    """Takes decoded attachments from the renderer, one after the other, and seals each into a blob of its own."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._stream: SealedStream | None = None
        self._part_id = ""
        self.kept: list[messages.PartRow] = []

    async def begin(self, part_id: str) -> None:
        self._part_id = part_id
        self._stream = await self._container.stream(Kind.PART, part_id)

    async def write(self, piece: bytes) -> None:
        assert self._stream is not None
        await self._stream.write(piece)

    async def end(self) -> None:
        assert self._stream is not None
        await self._stream.commit()
        self.kept.append(messages.PartRow(PartId(self._part_id), self._stream.key, self._stream.size))
        self._stream = None

    async def abort(self) -> None:
        if self._stream is not None:
            await self._stream.abort()


async def prepare(
    db: Database,
    renderer: Renderer,
    container: Container,
    raw: AsyncIterator[bytes],
    now: datetime,
    *,
    again: bool = False,
    whose: str = "",
) -> Rendition:
    """The rendition of `raw`, kept. Raises a PortalError when it can't be kept; then it is made again for the next view.

    With `again`, an unparsable one is not kept: the process may have been killed for another's sake, so the first view tries anew.
    `whose` is who waits for it, if somebody does.
    """
    sink = _SealingSink(container)
    try:
        rendition = await renderer.render(raw, sink, whose)
    except BaseException:
        await sink.abort()
        raise
    await sink.abort()
    have = {part.id for part in sink.kept}
    if have != {part.id for part in rendition.parts}:
        # The renderer died between two attachments: what it had handed out is not kept, nor shown.
        sink.kept.clear()
        if rendition.parts:
            raise PortalError("the renderer named attachments that it did not hand out")
    if again and "unparsable" in rendition.problems:
        return rendition
    sealed = container.seal(Kind.RENDITION, dump(rendition))
    message_id = MessageId(container.id)
    await db.note(*messages.keep_rendition(message_id, container.org_id, rendition.version, sealed, now, sink.kept))
    return rendition
