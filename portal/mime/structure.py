"""The tree of a mail's parts (RFC 2045-2046), cut on the raw bytes in linear time and within portal/mime/limits.py.

The standard library's parser builds a list of all lines and copies a mail four times over, so that a large one does not fit the
process's memory, and it knows no limits. Here a part is a pair of offsets, and only the Content fields of each part go
to `email` (compat32), which knows parameters (RFC 2231) well.
"""

from dataclasses import dataclass, field
from email.message import Message
from email.policy import compat32
from email.utils import collapse_rfc2231_value

from portal.mime.charsets import decode
from portal.mime.fields import Fields, Raw, split
from portal.mime.limits import MAX_DEPTH, MAX_PARAMETERS, MAX_PARTS, Unparsable


@dataclass(eq=False)
class Entity:
    """One entity: what its Content fields say, where its body lies in the raw mail, and its parts if it is a multipart."""

    content: Message
    media_type: str
    start: int
    end: int
    parts: list["Entity"] = field(default_factory=list)

    def parameter(self, name: str, header: str = "content-type") -> str:
        """A parameter's text, RFC 2231 decoded, or nothing. Never raises, unlike the library."""
        try:
            value = self.content.get_param(name, header=header)
            return collapse_rfc2231_value(value) if value is not None else ""
        except Exception:
            return ""

    def value(self, header: str) -> str:
        """A field's value without parameters, in lower case."""
        return str(self.content.get(header, "")).partition(";")[0].strip().lower()

    @property
    def attached(self) -> bool:
        return self.value("content-disposition") == "attachment"


@dataclass(eq=False)
class Tree:
    """The whole mail: the fields of its header block, its root part and what had to be left out (problem codes)."""

    fields: Fields
    root: Entity
    problems: set[str]


def tree(raw: Raw) -> Tree:
    """Raises Unparsable when a header block goes over a limit."""
    fields = split(raw)
    walk = _Walk(raw)
    root = walk.entity(fields, len(raw), depth=0, default="text/plain")
    return Tree(fields, root, walk.problems)


class _Walk:
    """Cuts one mail; counts its parts on the way."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._count = 0
        self.problems: set[str] = set()

    def entity(self, fields: Fields, end: int, depth: int, default: str) -> Entity:
        part = _entity(fields, end, default)
        if not part.media_type.startswith("multipart/"):
            return part
        boundary = part.parameter("boundary").encode("utf-8", "surrogateescape").rstrip()
        if depth >= MAX_DEPTH:
            self.problems.add("too-deep")
            part.media_type = "application/octet-stream"
        elif not boundary or not self._cut(part, boundary, depth):
            self.problems.add("bad-encoding")
            part.media_type = "text/plain"
        return part

    def _cut(self, whole: Entity, boundary: bytes, depth: int) -> bool:
        """Fills `whole.parts`; tells whether the boundary was found at all."""
        default = "message/rfc822" if whole.media_type == "multipart/digest" else "text/plain"
        seen, begin = False, -1
        for line_at, after, last in self._delimiters(boundary, whole.start, whole.end):
            if begin >= 0 and not self._add(whole, begin, _before(self._raw, line_at, begin), depth, default):
                return True
            seen, begin = True, -1 if last else after
            if last:
                break
        if begin >= 0:
            self._add(whole, begin, whole.end, depth, default)
        return seen

    def _add(self, whole: Entity, start: int, end: int, depth: int, default: str) -> bool:
        if self._count == MAX_PARTS:
            self.problems.add("too-many-parts")
            return False
        self._count += 1
        whole.parts.append(self.entity(split(self._raw, start, end), end, depth + 1, default))
        return True

    def _delimiters(self, boundary: bytes, start: int, end: int) -> "list[tuple[int, int, bool]]":
        """The delimiter lines: where each begins, where the next line begins, whether it closes (RFC 2046 5.1.1)."""
        raw, mark = self._raw, b"--" + boundary
        found: list[tuple[int, int, bool]] = []
        at = raw.find(mark, start, end)
        while at >= 0 and len(found) <= MAX_PARTS + 1:
            line_end = raw.find(b"\n", at, end) + 1 or end
            tail = bytes(raw[at + len(mark) : line_end]).strip()
            if (at == start or raw[at - 1 : at] == b"\n") and tail in (b"", b"--"):
                found.append((at, line_end, tail == b"--"))
            at = raw.find(mark, line_end, end)
        return found


def _entity(fields: Fields, end: int, default: str) -> Entity:
    if fields.over:
        raise Unparsable
    content: Message = Message(policy=compat32)
    for name, value in fields.found:
        if name.startswith(b"content-"):
            if value.count(b";") > MAX_PARAMETERS:
                raise Unparsable
            content[name.decode("ascii")] = decode(value, None)[0]
    declared = str(content.get("content-type", "")).partition(";")[0].strip().lower()
    media_type = declared if declared.count("/") == 1 else default
    return Entity(content, media_type, min(fields.body_at, end), end)


def _before(raw: Raw, line_at: int, begin: int) -> int:
    """The end of a part: the line break before a delimiter belongs to the delimiter (RFC 2046 5.1.1)."""
    for width in (2, 1):
        if line_at - width >= begin and raw[line_at - width : line_at] in (b"\r\n", b"\n"):
            return line_at - width
    return max(line_at, begin)
