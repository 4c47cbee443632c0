"""How the mails of the corpus are made: parts, multiparts, messages, and what each must show."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from quopri import encodestring
from typing import Any

Kept = str | bytes

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005000201ff9d2c5d6d"
    "0000000049454e44ae426082"
)
GIF = base64.b64decode(b"R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + bytes(64) + b"\xff\xd9"
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\nresults of Tuesday\n%%EOF\n"
ZIP = b"PK\x05\x06" + bytes(18)
TNEF = bytes.fromhex("789f3e22") + bytes(range(200))


def der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets) + content


def opaque(words: bytes, inside: str = "06092a864886f70d010701", *behind: bytes) -> bytes:
    """SignedData around a MIME entity (RFC 5652 5.1), with nobody's signature: nothing may depend on one."""
    data = der(0x30, bytes.fromhex(inside), der(0xA0, der(0x04, words)) if words else b"")
    signed = der(0x30, b"\x02\x01\x01", der(0x31), data, *behind, der(0x31))
    return der(0x30, bytes.fromhex("06092a864886f70d010702"), der(0xA0, signed))


SIGNED = bytes.fromhex("3080060b2a864886f70d010702a0803080") + b"signed" * 9
ENVELOPED = bytes.fromhex("3080060b2a864886f70d010703a0803080") + b"sealed" * 9
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Piece:
    """A part with its fields, or a whole mail without its own."""

    raw: bytes
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A part as it must come out: name, media type by its bytes, kind; its size where that is told."""

    name: str
    media_type: str = OCTETS
    kind: str = ""
    size: int | None = None


@dataclass(frozen=True)
class Vector:
    """One mail. `says` must be read on the page, `silent` must not; `html` tells whether it is shown as HTML.

    `parts` are all attachments in order, `nested` counts messages in the message, `more` further documents, `told` the calendars,
    cards and reports put into words. `hostile` is what no honest program sends on purpose: broken, lying or an attack.
    """

    topic: str
    name: str
    raw: bytes
    subject: str = "About your visit"
    says: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    html: bool = False
    parts: tuple[Shown, ...] = ()
    nested: int = 0
    more: int = 0
    told: int = 0
    problems: tuple[str, ...] = ()
    hostile: bool = False
    kept: tuple[Kept, ...] = field(default=(), repr=False)


def part(
    content_type: str, body: bytes | str, *fields: str, encoding: str = "", kept: Iterable[Kept] | None = None
) -> Piece:
    """A leaf. Text keeps its words, anything else its bytes."""
    content = body.encode() if isinstance(body, str) else body
    text = content_type.startswith("text/") and isinstance(body, str)
    keeps: tuple[Kept, ...] = tuple(kept) if kept is not None else ((body,) if text else (content,))
    coded = {
        "": content,
        "base64": base64.encodebytes(content).replace(b"\n", b"\r\n"),
        "quoted-printable": _quoted(content),
    }
    lines = [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"Content-Transfer-Encoding: {encoding}"] if encoding else []
    return Piece("\r\n".join([*lines, *fields, "", ""]).encode() + coded.get(encoding, content), keeps)


def _quoted(content: bytes) -> bytes:
    return encodestring(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")


def text(words: str, *fields: str, subtype: str = "plain", encoding: str = "", **parameters: str) -> Piece:
    said = "".join(f"; {name}={value}" for name, value in {"charset": "utf-8", **parameters}.items())
    return part(f"text/{subtype}{said}", words, *fields, encoding=encoding)


def html(markup: str, *fields: str, words: str | None = None, encoding: str = "") -> Piece:
    """`words` are what is left when the tags are gone."""
    kept = (words,) if words is not None else ()
    return part("text/html; charset=utf-8", markup, *fields, encoding=encoding, kept=kept)


def file(name: str, content: bytes, content_type: str = OCTETS, how: str = "attachment") -> Piece:
    return part(content_type, content, f'Content-Disposition: {how}; filename="{name}"', encoding="base64")


def picture(cid: str = "", content: bytes = PNG, *fields: str, media_type: str = "image/png") -> Piece:
    named = (f"Content-ID: <{cid}>",) if cid else ()
    return part(media_type, content, *named, *fields, encoding="base64")


def multi(
    kind: str, *pieces: Piece, boundary: str = "", parameters: str = "", preamble: str = "", close: bool = True
) -> Piece:
    """A multipart. Its boundary follows from what is in it."""
    inside = b"".join(piece.raw for piece in pieces)
    mark = boundary or "=_" + hashlib.sha256(kind.encode() + inside).hexdigest()[:16]
    lines = b"".join(b"--" + mark.encode() + b"\r\n" + piece.raw + b"\r\n" for piece in pieces)
    end = b"--" + mark.encode() + b"--\r\n" if close else b""
    head = f'Content-Type: multipart/{kind}; boundary="{mark}"{parameters}\r\n\r\n{preamble}'
    return Piece(head.encode() + lines + end, tuple(kept for piece in pieces for kept in piece.kept))


def message(piece: Piece, subject: str = "About your visit", *fields: str) -> bytes:
    """The mail with its envelope fields, as a clinic's program writes them."""
    head = [
        "From: Carol Jones <carol@clinic.example>",
        "To: Alice <alice@patients.example>",
        f"Subject: {subject}",
        f"Date: {format_datetime(datetime(2026, 11, 21, 10, 42, tzinfo=UTC))}",
        "Message-ID: <1@clinic.example>",
        "MIME-Version: 1.0",
        *fields,
    ]
    return "\r\n".join([*head, ""]).encode() + piece.raw


def enclosed(piece: Piece, subject: str, *fields: str, how: str = "", encoding: str = "") -> Piece:
    """A message as a part."""
    inner = message(piece, subject, *fields)
    disposition = (f"Content-Disposition: {how}",) if how else ()
    return part("message/rfc822", inner, *disposition, encoding=encoding, kept=(*piece.kept, inner, subject))


def vector(topic: str, name: str, piece: Piece, *, subject: str = "About your visit", **expected: Any) -> Vector:
    return Vector(topic, name, message(piece, subject), subject=subject, kept=piece.kept, **expected)


def ics(*lines: str, method: str = "REQUEST", event: Iterable[str] = ()) -> str:
    usual = [
        "UID:1@clinic.example", "SUMMARY:Blood test", "DTSTART;TZID=Europe/Berlin:20261204T103000",
        "DTEND;TZID=Europe/Berlin:20261204T110000",
        "LOCATION:Room 4", 'ORGANIZER;CN="Jones, Carol":mailto:carol@clinic.example',
        "ATTENDEE;CN=Alice;PARTSTAT=NEEDS-ACTION:mailto:alice@patients.example",
    ]  # fmt: skip
    inside = list(event) or [*usual, *lines]
    return "\r\n".join(
        [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            f"METHOD:{method}",
            "BEGIN:VEVENT",
            *inside,
            "END:VEVENT",
            "END:VCALENDAR",
            "",
        ]
    )


def calendar(
    content: str | None = None, *fields: str, method: str = "REQUEST", media_type: str = "text/calendar"
) -> Piece:
    body = ics(method=method) if content is None else content
    return part(f"{media_type}; charset=utf-8; method={method}", body.encode(), *fields)
