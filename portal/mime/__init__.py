"""What a mail says, made safe to show: `Renderer` and its contract.

A mail is parsed once, by a process that can be killed (portal/mime/pool.py), never in the server's own. What comes out,
a `Rendition` and the decoded attachments, is sealed and kept; opening a message parses nothing. An organisation's logo is
a stranger's bytes too, and goes the same way.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

VERSION = 2
"""Of parser and sanitiser together: a rendition with another one is made anew on its next view."""


@dataclass(frozen=True)
class Heading:
    """The header fields that people see, decoded, without control or bidi characters, cut at 998 characters.

    `sender` and `to` are display texts such as `Carol Jones <carol@clinic.example>`; `sent_at` is None when the Date
    field is missing or can't be read.
    """

    subject: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    sent_at: datetime | None


@dataclass(frozen=True)
class Part:
    """An attachment: `id` is `1`, `2`, ... in order; `name` is safe for any file system; `size` counts decoded bytes.

    `media_type` is what the bytes are by their own signature where that is on the allow-list (png, jpeg, gif, webp, pdf),
    else `application/octet-stream`. `declared` is what the mail said. `kind` is a word for what people would not know by its
    type (portal/mime/kinds.py), or nothing. `within` is the id of the message in the message it came with, or nothing.
    """

    id: str
    name: str
    media_type: str
    declared: str
    size: int
    kind: str = ""
    within: str = ""


@dataclass(frozen=True)
class Enclosed:
    """A further document of the mail, shown below its first one: a message in the message, or more of its own words.

    `part` is the id of the attachment that holds a message whole, or words that were signed, which have no heading; more words of the
    mail have neither.
    `within` is the id of the message around it, or nothing. `html` is a document of its own, never joined with another's (EFAIL).
    """

    part: str
    within: str
    heading: Heading | None
    text: str
    html: str | None


@dataclass(frozen=True)
class Moment:
    """A time as a calendar says it: `at` is the wall clock (naive) in `zone`, a name, `UTC`, or nothing for wherever one is."""

    at: datetime
    zone: str
    all_day: bool


@dataclass(frozen=True)
class Event:
    """What the calendar in attachment `part` says (RFC 5545, 5546). Plain texts, empty where it says nothing.

    `method` is `request`, `cancel`, `reply` or another in lower case; `answer` is what a reply says: `accepted`, `declined` or
    `tentative`. `ends` of whole days is the last of them.
    """

    part: str
    method: str
    what: str
    begins: Moment | None
    ends: Moment | None
    repeats: bool
    where: str
    organiser: str
    people: tuple[str, ...]
    notes: str
    answer: str


@dataclass(frozen=True)
class Card:
    """The person or place in the vCard of attachment `part` (RFC 6350): a name, and lines with what else it says."""

    part: str
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What attachment `part` reports of a mail to `recipient`, by whoever wrote it: nobody vouches for it.

    `action` is one of RFC 3464 2.3.3 (`failed`, `delayed`, `delivered`, `relayed`, `expanded`) or RFC 8098 3.2.6.2 (`displayed`,
    `deleted`, ...); `status` a code like `5.1.1`; `reason` what the mail host said.
    """

    part: str
    recipient: str
    action: str
    status: str
    reason: str


Told = Event | Card | Report


@dataclass(frozen=True)
class Rendition:
    """All that is shown of a mail. `html` is a body fragment made harmless, or None where the mail has only text.

    `told` says in fields what machine-readable attachments say; `enclosed` are further documents, in order, an outer one before
    its inner.

    `problems` holds codes for what could not be read: `unparsable`, `too-many-parts`, `too-deep`, `bad-encoding`,
    `picture-left-out`, `html-left-out`, `remote-left-out`, `text-cut` (all of it is then an attachment), `part-unread` (an
    attachment of a kind that is shown otherwise is not), `other-program` (what only another program can take
    out: S/MIME, PGP).
    With `unparsable` the original is kept and nothing else is shown.

    `quoted_text` is the offset in `text` from which on earlier messages are quoted, `quoted_html` from where to where they are in
    `html`; None where there are none. Nothing of them is missing.
    """

    version: int
    heading: Heading
    text: str
    html: str | None
    parts: tuple[Part, ...]
    problems: tuple[str, ...] = field(default=())
    quoted_text: int | None = None
    quoted_html: tuple[int, int] | None = None
    told: tuple[Told, ...] = field(default=())
    enclosed: tuple[Enclosed, ...] = field(default=())


@dataclass(frozen=True)
class Logo:
    """An organisation's logo: a PNG with pixels and nothing else in it, at most 480 x 160 of them and 100 kB."""

    png: bytes
    width: int
    height: int


class PartSink(Protocol):
    """Where decoded attachments go, one after the other, in the order of `Rendition.parts`."""

    async def begin(self, part_id: str) -> None: ...
    async def write(self, piece: bytes) -> None: ...
    async def end(self) -> None: ...


class Renderer(Protocol):
    """Parses and sanitises a mail, or a picture, apart from the server.

    `render` takes the raw mail as pieces of any size and hands each decoded attachment to `sink` as it comes out, so that
    the server never holds one whole. It never raises for what the mail contains: a mail that can't be parsed, takes
    longer than 5 s or needs more than 512 MiB gives a Rendition with the problem `unparsable` and whatever heading could be read.

    `logo` takes a PNG, JPEG, GIF or WebP of at most 2 MiB and 4,000 x 4,000 pixels, and makes a logo of its first frame. Any other
    file, a damaged one, and one that goes over the same limits of time and memory is InputRefused, in a sentence that says what to do.

    `paper` makes a PDF (PDF/UA-1) of a sheet of words; None where the extra `pdf` is missing, the sheet has more than 1 MiB or signs
    that no font here can draw, or it goes over those limits.

    `formatted` takes what a recipient typed and gives it as HTML with light formatting (portal/mime/markup.py): paragraphs, line
    breaks, bold, slanted and lists. What would lose a letter, or goes over the limits, is InputRefused.

    `whose` says which person waits for it: nobody has more than one thing made at a time, so that she is in nobody else's way.
    Empty is nobody: mail that came in.
    """

    async def render(self, raw: AsyncIterator[bytes], sink: PartSink, whose: str = "") -> Rendition: ...

    async def logo(self, raw: bytes) -> Logo: ...

    async def paper(self, sheet: bytes, whose: str) -> bytes | None: ...

    async def formatted(self, text: str, whose: str) -> str: ...

    async def close(self) -> None: ...
