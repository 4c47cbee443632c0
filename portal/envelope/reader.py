"""A sealed object in, plaintext out: as a stream, by random access, or at once.

Only authenticated plaintext leaves this module. From a bad chunk on nothing does, and a reader that met damage goes on
failing with it whatever is asked next. Damage met inside one call or one batch also keeps back the good chunks before it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO

from portal.envelope.chunks import Chunks, begin
from portal.envelope.format import (
    CHUNK,
    COBBLESTONE_256,
    HEADER,
    SEALED_CHUNK,
    TAG,
    Bytes,
    Damaged,
    Suite,
    Truncated,
    plaintext_length,
)

BATCH = 16
"""Chunks asked for in one `read_at`, opened in one go and yielded as one piece (256 KiB, some 0.1 ms)."""


class _Lasting:
    """Damage that lasts: once met, each later call raises it anew."""

    _damage: tuple[type[Damaged], str] | None = None

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        if self._damage:
            kind, what = self._damage
            raise kind(what)
        try:
            yield
        except Damaged as damage:
            self._damage = type(damage), damage.what
            raise


class StreamReader(_Lasting):
    """Opens an object that arrives in pieces of any size, holding less than one chunk between calls.

    What `feed` returned is authentic, but only `finish` tells that nothing is missing behind it.
    """

    def __init__(self, key: bytes, context: bytes, suite: Suite = COBBLESTONE_256) -> None:
        """Raises ValueError for a key of the wrong size."""
        if len(key) != suite.key_size:
            raise ValueError(f"{suite.name} takes a key of {suite.key_size} bytes, not {len(key)}")
        self._open_header = partial(begin, suite, key, context)
        self._chunks: Chunks | None = None  # None until the header is whole and its commitment checked
        self._next = 0  # number of the chunk that comes next
        self._held = bytearray()  # the header, then that chunk, so far
        self._room = bytearray()  # where chunks are opened, kept from call to call
        self._finished = False

    def feed(self, piece: Bytes) -> bytes:
        """The plaintext of each full chunk that `piece` completes; often none.

        Raises WrongKey, NotAuthentic, and ValueError after `finish`.
        """
        with self._failing_for_good():
            self._refuse_finished()
            view = memoryview(piece).cast("B")
            if self._chunks is None:
                view = self._past_header(view)
            if self._chunks is None:
                return b""
            return self._full_chunks(self._chunks, view)

    def finish(self) -> bytes:
        """The plaintext of the last chunk. Raises Truncated, NotAuthentic, and ValueError the second time."""
        with self._failing_for_good():
            self._refuse_finished()
            if self._chunks is None:
                raise Truncated("the object ends inside its header")
            if len(self._held) < TAG:
                raise Truncated("the object ends without its last chunk")
            last = bytearray(len(self._held) - TAG)
            self._chunks.open(self._next, memoryview(self._held), memoryview(last))
            self._finished = True
            self._held, self._room = bytearray(), bytearray()
            return bytes(last)

    def _past_header(self, view: memoryview) -> memoryview:
        missing = HEADER - len(self._held)
        self._held += view[:missing]
        if len(self._held) == HEADER:
            self._chunks = self._open_header(bytes(self._held))
            self._held = bytearray()
        return view[missing:]

    def _full_chunks(self, chunks: Chunks, view: memoryview) -> bytes:
        full = (len(self._held) + len(view)) // SEALED_CHUNK
        if not full:
            self._held += view
            return b""
        if len(self._room) < full * CHUNK:
            self._room = bytearray(full * CHUNK)
        room, at = memoryview(self._room), 0
        if self._held:
            missing = SEALED_CHUNK - len(self._held)
            at = chunks.open(self._next, memoryview(self._held + view[:missing]), room)
            view = view[missing:]
        whole = len(view) - len(view) % SEALED_CHUNK
        at += chunks.open(self._next + at // CHUNK, view[:whole], room[at:])
        self._next += full
        self._held = bytearray(view[whole:])
        return bytes(room[:at])

    def _refuse_finished(self) -> None:
        if self._finished:
            raise ValueError("this object was read to its end")


class RandomReader(_Lasting):
    """Opens any part of an object that lies still.

    `read_at(offset, length)` gives exactly that many sealed bytes, or fewer where the object ends; what it raises passes
    through and does not count as damage. Whatever depends on the length authenticates the last chunk first: `size`, and
    each read that reaches or passes the end. A read that does not may succeed in an object damaged elsewhere.
    """

    def __init__(
        self,
        key: bytes,
        context: bytes,
        read_at: Callable[[int, int], bytes],
        sealed_size: int,
        suite: Suite = COBBLESTONE_256,
    ) -> None:
        """Reads the header. Raises Truncated for an impossible `sealed_size`, WrongKey, ValueError for a key's size."""
        self._size = plaintext_length(sealed_size)
        self._sealed_size = sealed_size
        self._read_at = read_at
        self._chunks = begin(suite, key, context, read_at(0, HEADER))
        self._end_is_authentic = False
        self._room = bytearray()  # where chunks are opened, kept from call to call

    @property
    def size(self) -> int:
        """Bytes of plaintext, authenticated. Raises Truncated, NotAuthentic."""
        with self._failing_for_good():
            return self._authentic_size()

    def read(self, offset: int, n: int) -> bytes:
        """Up to `n` bytes from `offset` on; fewer, or none, only where the object ends. Raises Truncated, NotAuthentic."""
        return b"".join(self.chunks(offset, offset + n))

    def chunks(self, start: int = 0, stop: int | None = None) -> "Pieces":
        """The bytes from `start` up to `stop` (None: the end), as pieces of at most 256 KiB.

        Raises Truncated or NotAuthentic at once where the end is reached and damaged, else when the damage is met;
        ValueError when the range runs backwards or starts before 0.
        """
        with self._failing_for_good():
            if start < 0 or (stop is not None and stop < start):
                raise ValueError(f"no range of bytes: {start} to {stop}")
            if stop is None or stop >= self._size:
                stop = self._authentic_size()
            return Pieces(self, start, stop)

    def _authentic_size(self) -> int:
        if not self._end_is_authentic:
            last = self._size // CHUNK
            self._open(last, last + 1)
            self._end_is_authentic = True
        return self._size

    def _piece(self, start: int, stop: int) -> bytes:
        with self._failing_for_good():
            first = start // CHUNK
            last = min(-(-stop // CHUNK), first + BATCH)
            begins = first * CHUNK
            return bytes(self._open(first, last)[start - begins : stop - begins])

    def _open(self, first: int, stop: int) -> memoryview:
        """The plaintext of the chunks from `first` up to `stop`, good until the next call."""
        offset = HEADER + first * SEALED_CHUNK
        length = min(HEADER + stop * SEALED_CHUNK, self._sealed_size) - offset
        sealed = self._read_at(offset, length)
        if len(sealed) != length:
            raise Truncated("the object is shorter than it was said to be")
        if len(self._room) < (stop - first) * CHUNK:
            self._room = bytearray((stop - first) * CHUNK)
        room = memoryview(self._room)
        return room[: self._chunks.open(first, memoryview(sealed), room)]


class Pieces:
    """A run of plaintext, read as it is asked for. Unlike a generator's, its damage lasts: no clean end follows it."""

    def __init__(self, reader: RandomReader, start: int, stop: int) -> None:
        self._reader, self._at, self._stop = reader, start, stop

    def __iter__(self) -> "Pieces":
        return self

    def __next__(self) -> bytes:
        if self._at >= self._stop:
            raise StopIteration
        piece = self._reader._piece(self._at, self._stop)
        self._at += len(piece)
        return piece


def open_sealed(key: bytes, context: bytes, sealed: Bytes, suite: Suite = COBBLESTONE_256) -> bytes:
    """The whole plaintext of `sealed`. Raises Truncated, WrongKey, NotAuthentic, and ValueError for a key's size."""
    view = memoryview(sealed).cast("B")
    chunks = begin(suite, key, context, bytes(view[:HEADER]))
    plain = BytesIO(bytes(plaintext_length(len(view))))  # CPython hands its value out without copying it
    with plain.getbuffer() as room:
        chunks.open(0, view[HEADER:], room)
    return plain.getvalue()
