"""Cuts a header block into fields (RFC 5322 2.2), in one pass over its lines and without copying what follows.

It never raises and never looks beyond `MAX_HEADER_BYTES`; `Fields.over` says that a limit was met and the rest left unread.
"""

import re
from dataclasses import dataclass

from portal.mime.limits import MAX_FIELD_BYTES, MAX_FIELDS, MAX_HEADER_BYTES

Raw = bytes | bytearray

_NAME = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")


@dataclass(frozen=True)
class Fields:
    """The fields of one header block in order, names in lower case, values unfolded and not yet decoded.

    `body_at` is the offset of the first byte after the header block.
    """

    found: list[tuple[bytes, bytes]]
    body_at: int
    over: bool

    def first(self, name: bytes) -> bytes:
        """The value of the first field called `name`, or nothing: a second From or Subject is never shown."""
        return next((value for key, value in self.found if key == name), b"")


def split(raw: Raw, start: int = 0, end: int | None = None) -> Fields:
    """The fields at `start`. A line that is neither a field nor a continuation ends the block and begins the body."""
    end = len(raw) if end is None else end
    stop = min(end, start + MAX_HEADER_BYTES)
    block = bytes(memoryview(raw)[start:stop])
    found: list[tuple[bytes, bytes]] = []
    at, over = 0, False
    while at < len(block):
        line_end = block.find(b"\n", at) + 1 or len(block)
        line = block[at:line_end].rstrip(b"\r\n")
        if not line:
            return Fields(found, start + line_end, over)
        if name := _NAME.match(line):
            if len(found) == MAX_FIELDS:
                return Fields(found, start + at, True)
            line_end, value, cut = _unfolded(block, at + name.end(), line_end)
            over = over or cut
            found.append((name[1].lower(), value))
        elif found or not line.startswith((b"From ", b">From ")):
            return Fields(found, start + at, over)
        at = line_end
    return Fields(found, start + at, over or stop < end)


def _unfolded(block: bytes, value_at: int, line_end: int) -> tuple[int, bytes, bool]:
    """Where the field ends, its value without the folding (RFC 5322 2.2.3), and whether it had to be cut."""
    while line_end < len(block) and block[line_end] in b" \t":
        line_end = block.find(b"\n", line_end) + 1 or len(block)
    value = block[value_at:line_end]
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return line_end, value[:MAX_FIELD_BYTES].strip(), line_end - value_at > MAX_FIELD_BYTES
