"""The tree of a mail's parts (RFC 2045-2046), cut on the raw bytes in linear time and within portal/mime/limits.py.

The standard library's parser builds a list of all lines and copies a mail four times over, so that a large one does not fit the
process's memory, and it knows no limits. Here a part is a pair of offsets, and only the Content fields of each part go
to `email` (compat32), which knows parameters (RFC 2231) well. Messages in the message are cut in the same walk, under the same limits.
"""

import re
from dataclasses import dataclass, field
from email.message import Message
from email.policy import compat32
from typing import Any

from portal.mime.charsets import decode
from portal.mime.fields import Fields, Raw, split
from portal.mime.limits import (
    MAX_DEPTH,
    MAX_ENCLOSED,
    MAX_ENCLOSED_DEPTH,
    MAX_OPENED_BYTES,
    MAX_PARAMETERS,
    MAX_PARTS,
    MAX_TWICE_KEPT_BYTES,
    Unparsable,
)
from portal.mime.signed import words_of
from portal.mime.transfer import AS_IT_IS, decoded

PKCS7 = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_MEDIA_TYPE = re.compile(r"[\s\"']*([\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100})", re.ASCII)
# What a multipart begins with whose header names another boundary, or none: a delimiter, and under it a field of a part.
_FIRST_DELIMITER = re.compile(rb"(?:\A|\n)--([^\r\n]{1,200}?)[ \t]{0,100}\r?\n[Cc]ontent-[\w-]{1,40}:")
_PREAMBLE_BYTES = 16 * 1024


@dataclass(eq=False)
class Entity:
    """One entity: what its Content fields say, where in `source` its body lies, and its parts if it is a multipart.

    `source` is the raw mail, or what came out of a part that was encoded though it must not be (RFC 2045 6.4). `message` is
    the mail inside a message/rfc822, or the entity inside an opaque-signed part.
    """

    content: Message
    media_type: str
    source: Raw
    start: int
    end: int
    parts: list["Entity"] = field(default_factory=list)
    message: "Tree | None" = None

    def parameter(self, name: str, header: str = "content-type") -> str:
        """A parameter's text, RFC 2231 decoded, or nothing. Never raises. The extended form goes first (RFC 6266 4.3)."""
        try:
            found: list[tuple[str, Any]] = self.content.get_params([], header)
            values = [value for key, value in found if key.lower() == name]
        except Exception:
            return ""
        extended = next((value for value in values if isinstance(value, tuple)), None)
        if extended is None:
            return str(values[0]) if values else ""
        charset, _, text = extended
        try:
            return decode(text.encode("latin-1"), charset)[0]
        except UnicodeEncodeError:
            return str(text)

    def value(self, header: str) -> str:
        """The first word of a field's value, in lower case."""
        words = str(self.content.get(header, "")).partition(";")[0].split()
        return words[0].lower() if words else ""

    @property
    def attached(self) -> bool:
        return self.value("content-disposition") == "attachment"

    @property
    def file_name(self) -> str:
        """The name the mail gives the part, as it stands there, or nothing."""
        return self.parameter("filename", "content-disposition") or self.parameter("name")

    def decoded(self) -> tuple[bytes, bool]:
        """Its bytes, and whether they came out whole."""
        return decoded(self.source, self.start, self.end, self.value("content-transfer-encoding"))


@dataclass(eq=False)
class Tree:
    """The whole mail: the fields of its header block, its root part and what had to be left out (problem codes)."""

    fields: Fields
    root: Entity
    problems: set[str]


def tree(raw: Raw) -> Tree:
    """Raises Unparsable when a header block goes over a limit; one of a message in the message only leaves that one closed."""
    return _Walk(len(raw)).mail(raw, 0, len(raw), depth=0)


class _Walk:
    """Cuts one mail and the messages in it; counts parts and messages on the way."""

    def __init__(self, size: int) -> None:
        self._opened_left = 2 * size + MAX_TWICE_KEPT_BYTES
        self._parts = 0
        self._messages = 0
        self._level = 0
        self.problems: set[str] = set()

    def mail(self, raw: Raw, start: int, end: int, depth: int) -> Tree:
        fields = split(raw, start, end)
        return Tree(fields, self._entity(raw, fields, end, depth, "text/plain"), self.problems)

    def _entity(self, raw: Raw, fields: Fields, end: int, depth: int, default: str) -> Entity:
        part = _entity(raw, fields, end, default)
        if part.media_type in MESSAGES or part.media_type in PKCS7:
            self._open(part, depth)
        if not part.media_type.startswith("multipart/"):
            return part
        if depth >= MAX_DEPTH:
            self.problems.add("too-deep")
            part.media_type = "application/octet-stream"
        elif not self._cut(part, depth) and not self._cut_unwrapped(part, depth):
            self.problems.add("bad-encoding")
            part.media_type = "text/plain"
        return part

    def _open(self, part: Entity, depth: int) -> None:
        """Reads the message in a part, or what was signed in it. One that can't be read stays what every part is, an attachment."""
        size, signed = part.end - part.start, part.media_type in PKCS7
        inside = _signed(part) if signed else None
        if signed and inside is None:
            return
        if depth >= MAX_DEPTH or self._level >= MAX_ENCLOSED_DEPTH or size > self._opened_left:
            self.problems.add("too-deep")
        elif self._messages >= MAX_ENCLOSED:
            self.problems.add("too-many-parts")
        else:
            self._opened_left -= size
            self._messages += 1
            self._level += 1
            source, start, end = inside or _unwrapped(part) or (part.source, part.start, part.end)
            try:
                part.message = self.mail(source, start, end, depth + 1)
            except Unparsable:
                self.problems.add("part-unread")
            self._level -= 1

    def _cut(self, whole: Entity, depth: int) -> bool:
        """Fills `whole.parts`; tells whether there are any."""
        declared = whole.parameter("boundary").encode("utf-8", "surrogateescape").rstrip()
        return bool(declared and self._cut_at(whole, declared, depth)) or self._cut_at(whole, _first(whole), depth)

    def _cut_unwrapped(self, whole: Entity, depth: int) -> bool:
        inside = _unwrapped(whole)
        if inside is None:
            return False
        whole.source, whole.start, whole.end = inside
        del whole.content["content-transfer-encoding"]
        return self._cut(whole, depth)

    def _cut_at(self, whole: Entity, boundary: bytes, depth: int) -> bool:
        """Goes on after a closing delimiter: where an inner multipart has its parent's boundary, more parts follow."""
        if not boundary:
            return False
        default = "message/rfc822" if whole.media_type == "multipart/digest" else "text/plain"
        begin = -1
        for line_at, after, last in self._delimiters(whole, boundary):
            if begin >= 0 and not self._add(whole, begin, _before(whole.source, line_at, begin), depth, default):
                return True
            begin = -1 if last else after
        if begin >= 0:
            self._add(whole, begin, whole.end, depth, default)
        return bool(whole.parts)

    def _add(self, whole: Entity, start: int, end: int, depth: int, default: str) -> bool:
        if self._parts == MAX_PARTS:
            self.problems.add("too-many-parts")
            return False
        self._parts += 1
        whole.parts.append(self._entity(whole.source, split(whole.source, start, end), end, depth + 1, default))
        return True

    def _delimiters(self, whole: Entity, boundary: bytes) -> "list[tuple[int, int, bool]]":
        """The delimiter lines: where each begins, where the next line begins, whether it closes (RFC 2046 5.1.1)."""
        raw, start, end, mark = whole.source, whole.start, whole.end, b"--" + boundary
        found: list[tuple[int, int, bool]] = []
        at = raw.find(mark, start, end)
        while at >= 0 and len(found) <= 2 * MAX_PARTS:
            line_end = raw.find(b"\n", at, end) + 1 or end
            tail = bytes(raw[at + len(mark) : line_end]).strip()
            if (at == start or raw[at - 1 : at] == b"\n") and tail in (b"", b"--"):
                found.append((at, line_end, tail == b"--"))
            at = raw.find(mark, line_end, end)
        return found


def _first(whole: Entity) -> bytes:
    """The boundary that a multipart really has, by its first delimiter, or nothing."""
    head = bytes(memoryview(whole.source)[whole.start : min(whole.end, whole.start + _PREAMBLE_BYTES)])
    found = _FIRST_DELIMITER.search(head)
    return found[1] if found else b""


def _unwrapped(part: Entity) -> tuple[bytes, int, int] | None:
    """What is inside an encoding around a message or a multipart, which may have none and sometimes do; None where there is none."""
    if part.value("content-transfer-encoding") in AS_IT_IS or part.end - part.start > MAX_OPENED_BYTES:
        return None
    inside, _ = part.decoded()
    return inside, 0, len(inside)


def _signed(part: Entity) -> tuple[bytes, int, int] | None:
    if part.end - part.start > MAX_OPENED_BYTES:
        return None
    words = words_of(part.decoded()[0])
    return None if words is None else (words, 0, len(words))


def _entity(raw: Raw, fields: Fields, end: int, default: str) -> Entity:
    if fields.over:
        raise Unparsable
    content: Message = Message(policy=compat32)
    for name, value in fields.found:
        if name.startswith(b"content-"):
            if value.count(b";") > MAX_PARAMETERS:
                raise Unparsable
            content[name.decode("ascii")] = decode(value, None)[0]
    declared = _MEDIA_TYPE.match(str(content.get("content-type", "")))
    return Entity(content, declared[1].lower() if declared else default, raw, min(fields.body_at, end), end)


def _before(raw: Raw, line_at: int, begin: int) -> int:
    """The end of a part: the line break before a delimiter belongs to the delimiter (RFC 2046 5.1.1)."""
    for width in (2, 1):
        if line_at - width >= begin and raw[line_at - width : line_at] in (b"\r\n", b"\n"):
            return line_at - width
    return max(line_at, begin)
