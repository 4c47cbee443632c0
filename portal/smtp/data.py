"""The message as it comes after DATA: found, checked and dot-unstuffed in large pieces, never held whole.

Only CRLF.CRLF ends a message (RFC 5321 4.1.1.4). A bare CR, a bare LF or a NUL is refused, never repaired: a server that
takes LF.LF for an end lets one message smuggle in another. Lines may be of any length.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from portal.model.errors import MessageMalformed, MessageTooLarge

PIECE_BYTES = 256 * 1024
_END = b"\r\n.\r\n"


class DataParser:
    """Turns the bytes after DATA into the message, whatever the cuts between them.

    `done` tells that the end was seen; `rest` is then what the client had already sent after it. Feeding is over when
    `done`, or after MessageMalformed was raised.
    """

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._held = b"\r\n"  # what may yet become the end; at first the CRLF of the DATA command itself
        self._not_ours = 2  # bytes of that CRLF, which is no part of the message

    def feed(self, received: bytes) -> bytes:
        """The next bytes of the message, which may be none. Raises MessageMalformed."""
        buffer = self._held + received
        dotted = buffer.find(b"\r\n.")
        end = buffer.find(_END, dotted) if dotted >= 0 else -1
        if end >= 0:
            self.done = True
            self.rest = buffer[end + len(_END) :]
            piece = buffer[: end + 2]  # the CRLF before the dot ends the last line: it is the message's
        else:
            keep = len(buffer) - _undecided(buffer)
            piece, self._held = buffer[:keep], buffer[keep:]
        _check(piece)
        if dotted >= 0:
            piece = piece.replace(b"\r\n.", b"\r\n")  # RFC 5321 4.5.2
        if self._not_ours and piece:
            piece, self._not_ours = piece[self._not_ours :], 0
        return piece


def _undecided(buffer: bytes) -> int:
    """How many bytes at the end of `buffer` may be the beginning of the end of the message."""
    return next((size for size in (4, 3, 2, 1) if buffer.endswith(_END[:size])), 0)


def _check(piece: bytes) -> None:
    """Raises MessageMalformed on a bare CR, a bare LF or a NUL. `piece` never ends between CR and LF.

    One pass drops all three kinds; if it drops two bytes for every CRLF and no more, all of them were in pairs.
    """
    if len(piece) - len(piece.translate(None, b"\r\n\0")) != 2 * piece.count(b"\r\n"):
        raise MessageMalformed("bare CR, bare LF or NUL in the message")


class ClientGone(Exception):
    """The connection ended before what was being said did."""


@dataclass(frozen=True)
class Received:
    """How the reading of one message went. Without `ended`, what comes next can't be told from the message: close.

    `refusal` is why the message is not taken: malformed or too large, `found_here`, or else what the sink raised.
    """

    rest: bytes = b""
    refusal: Exception | None = None
    found_here: bool = False
    ended: bool = True


async def receive(
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
    *,
    max_bytes: int,
) -> Received:
    """Reads one message to its end and hands it on in pieces; the next piece is read when the last was taken.

    Once refused, nothing is written any more, but reading goes on, for at most `max_bytes` beyond the refusal: a client
    hears the answer only after it has sent everything (RFC 5321 4.1.1.4). Raises ClientGone when the connection ends
    before the message does: a Received never stands for half a message.
    """
    parser = DataParser()
    refusal: Exception | None = None
    found_here = False
    size = give_up_at = 0
    while not parser.done:
        received = await read()
        if not received:
            raise ClientGone
        try:
            piece = parser.feed(received)
        except MessageMalformed as error:
            return Received(refusal=error, found_here=True, ended=False)
        size += len(piece)
        if refusal is None:
            found_here = size > max_bytes
            refusal = MessageTooLarge(f"more than {max_bytes} bytes") if found_here else await _failure(write, piece)
            give_up_at = size + max_bytes
        elif size > give_up_at and not parser.done:
            return Received(refusal=refusal, found_here=found_here, ended=False)
    return Received(parser.rest, refusal, found_here)


async def _failure(write: Callable[[bytes], Awaitable[None]], piece: bytes) -> Exception | None:
    try:
        if piece:
            await write(piece)
    except Exception as error:
        return error
    return None
