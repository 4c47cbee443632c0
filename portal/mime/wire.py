"""A rendition as bytes: compact JSON, between the render process and the server and as the copy that is sealed.

`load(dump(r)) == r`. `load` takes exactly what `dump` writes and raises ValueError for anything else.
"""

import json
import struct
from datetime import UTC, datetime
from typing import TypedDict

from portal.mime import Heading, Part, Rendition

FRAME = struct.Struct(">I")
"""Between the processes: a length in bytes, then as many bytes. An empty frame ends a sequence of them."""

PIECE_BYTES = 64 * 1024
MEMORY_BYTES = 512 * 1024 * 1024
"""What a render process may take beyond what it has when it starts."""


class _Quoted(TypedDict):
    quoted_text: int | None
    quoted_html: tuple[int, int] | None


def dump(rendition: Rendition) -> bytes:
    heading = rendition.heading
    return json.dumps(
        {
            "version": rendition.version,
            "subject": heading.subject,
            "sender": heading.sender,
            "to": heading.to,
            "cc": heading.cc,
            "sent_at": heading.sent_at.astimezone(UTC).isoformat() if heading.sent_at else None,
            "text": rendition.text,
            "html": rendition.html,
            "parts": [[part.id, part.name, part.media_type, part.declared, part.size] for part in rendition.parts],
            "problems": rendition.problems,
            "quoted": [rendition.quoted_text, rendition.quoted_html],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def load(stored: bytes) -> Rendition:
    try:
        found = json.loads(stored)
        rendition = Rendition(
            version=_int(found.pop("version")),
            heading=Heading(
                subject=_str(found.pop("subject")),
                sender=_str(found.pop("sender")),
                to=_strings(found.pop("to")),
                cc=_strings(found.pop("cc")),
                sent_at=_time(found.pop("sent_at")),
            ),
            text=_str(found.pop("text")),
            html=_optional(found.pop("html")),
            parts=tuple(_part(*fields) for fields in found.pop("parts")),
            problems=_strings(found.pop("problems")),
            **_quoted(*found.pop("quoted")),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a rendition") from error
    if found:
        raise ValueError("not a rendition: it has fields of another version")
    return rendition


def _part(part_id: object, name: object, media_type: object, declared: object, size: object) -> Part:
    return Part(_str(part_id), _str(name), _str(media_type), _str(declared), _int(size))


def _quoted(text: object, html: object) -> _Quoted:
    if html is None:
        return _Quoted(quoted_text=None if text is None else _int(text), quoted_html=None)
    begin, end = html if isinstance(html, list) else (None, None)
    return _Quoted(quoted_text=None if text is None else _int(text), quoted_html=(_int(begin), _int(end)))


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _str(value)


def _int(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_str(one) for one in value)


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    found = datetime.fromisoformat(_str(value))
    if found.tzinfo is None:
        raise ValueError("a time without its zone")
    return found
