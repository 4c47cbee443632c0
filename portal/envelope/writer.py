"""Plaintext in, a sealed object out, as a stream or at once.

The writer holds less than one chunk of plaintext between calls. It makes no randomness: the caller brings a salt that was
never used under this key.
"""

from io import BytesIO

from portal.envelope.chunks import Chunks
from portal.envelope.format import (
    CHUNK,
    COBBLESTONE_256,
    HEADER,
    SEALED_CHUNK,
    TAG,
    Bytes,
    Suite,
    derive,
    sealed_length,
)


class Writer:
    """Seals a stream of pieces of any size.

    What `update` and `finish` return, joined, is the object. The header comes with the first output; `header` shows it
    to who wants to look. An object without `finish` has no last chunk and is refused by every reader.
    """

    def __init__(self, key: bytes, context: bytes, *, salt: bytes, suite: Suite = COBBLESTONE_256) -> None:
        """Raises ValueError for a key or salt of the wrong size."""
        keys = derive(suite, key, salt, context)
        self._chunks = Chunks(keys)
        self._next = 0  # number of the chunk that comes next
        self._held = bytearray()  # plaintext of that chunk so far: always less than CHUNK
        self._room = bytearray()  # where chunks are sealed, kept from call to call
        self._finished = False
        self._unsent = self.header = salt + keys.commitment

    def update(self, piece: Bytes) -> bytes:
        """The sealed bytes of each chunk that `piece` fills up; often none. Raises ValueError after `finish`."""
        self._refuse_finished()
        view = memoryview(piece).cast("B")
        full = (len(self._held) + len(view)) // CHUNK
        if not full:
            self._held += view
            return self._take_header()
        at = len(self._unsent)
        with memoryview(self._space(at + full * SEALED_CHUNK)) as room:
            room[:at] = self._take_header()
            if self._held:
                missing = CHUNK - len(self._held)
                at += self._seal(self._held + view[:missing], room[at:])
                view = view[missing:]
            whole = len(view) - len(view) % CHUNK
            if whole:
                at += self._seal(view[:whole], room[at:])
            self._held = bytearray(view[whole:])
            return bytes(room[:at])

    def finish(self) -> bytes:
        """The short last chunk, which says that the message ends here. Raises ValueError the second time."""
        self._refuse_finished()
        self._finished = True
        last = bytearray(len(self._held) + TAG)
        self._seal(self._held, memoryview(last))
        self._held, self._room = bytearray(), bytearray()
        return self._take_header() + bytes(last)

    def _seal(self, plain: Bytes, room: memoryview) -> int:
        first = self._next
        self._next += max(1, len(plain) // CHUNK)  # before the cipher runs: a number is never used twice
        return self._chunks.seal(first, memoryview(plain), room)

    def _space(self, size: int) -> bytearray:
        if len(self._room) < size:
            self._room = bytearray(size)
        return self._room

    def _take_header(self) -> bytes:
        header, self._unsent = self._unsent, b""
        return header

    def _refuse_finished(self) -> None:
        if self._finished:
            raise ValueError("this object is finished")


def seal(key: bytes, context: bytes, plaintext: Bytes, *, salt: bytes, suite: Suite = COBBLESTONE_256) -> bytes:
    """The object that holds `plaintext`. Raises ValueError for a key or salt of the wrong size."""
    keys = derive(suite, key, salt, context)
    view = memoryview(plaintext).cast("B")
    sealed = BytesIO(bytes(sealed_length(len(view))))  # CPython hands its value out without copying it
    chunks, whole = Chunks(keys), len(view) - len(view) % CHUNK
    with sealed.getbuffer() as room:
        room[:HEADER] = salt + keys.commitment
        at = HEADER + (chunks.seal(0, view[:whole], room[HEADER:]) if whole else 0)
        chunks.seal(whole // CHUNK, view[whole:], room[at:])
    return sealed.getvalue()
