"""A rendition as bytes: compact JSON, between the render process and the server and as the copy that is sealed.

`load(dump(r)) == r`. `load` takes exactly what `dump` writes and raises ValueError for anything else.
"""

import json
import struct
from datetime import UTC, datetime

from portal.mime import Card, Enclosed, Event, Heading, Moment, Part, Rendition, Report, Told

FRAME = struct.Struct(">I")
"""Between the processes: a length in bytes, then as many bytes. An empty frame ends a sequence of them."""

PIECE_BYTES = 64 * 1024
MEMORY_BYTES = 512 * 1024 * 1024
"""What a render process may take beyond what it has when it starts."""


def dump(rendition: Rendition) -> bytes:
    return json.dumps(
        {
            "version": rendition.version,
            "heading": _heading_fields(rendition.heading),
            "text": rendition.text,
            "html": rendition.html,
            "parts": [[p.id, p.name, p.media_type, p.declared, p.size, p.kind, p.within] for p in rendition.parts],
            "problems": rendition.problems,
            "told": [_told_fields(one) for one in rendition.told],
            "enclosed": [
                [e.part, e.within, None if e.heading is None else _heading_fields(e.heading), e.text, e.html]
                for e in rendition.enclosed
            ],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def load(stored: bytes) -> Rendition:
    try:
        found = json.loads(stored)
        rendition = Rendition(
            version=_int(found.pop("version")),
            heading=_heading(found.pop("heading")),
            text=_str(found.pop("text")),
            html=_optional(found.pop("html")),
            parts=tuple(_part(*fields) for fields in found.pop("parts")),
            problems=_strings(found.pop("problems")),
            told=tuple(_told(*fields) for fields in found.pop("told")),
            enclosed=tuple(_enclosed(*fields) for fields in found.pop("enclosed")),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a rendition") from error
    if found:
        raise ValueError("not a rendition: it has fields of another version")
    return rendition


def _heading_fields(heading: Heading) -> list[object]:
    sent_at = heading.sent_at.astimezone(UTC).isoformat() if heading.sent_at else None
    return [heading.subject, heading.sender, heading.to, heading.cc, sent_at]


def _heading(fields: object) -> Heading:
    if not isinstance(fields, list):
        raise TypeError
    subject, sender, to, cc, sent_at = fields
    return Heading(_str(subject), _str(sender), _strings(to), _strings(cc), _time(sent_at))


def _part(*fields: object) -> Part:
    part_id, name, media_type, declared, size, kind, within = fields
    return Part(
        _str(part_id), _str(name), _str(media_type), _str(declared), _int(size), kind=_str(kind), within=_str(within)
    )


def _enclosed(part: object, within: object, heading: object, text: object, html: object) -> Enclosed:
    shown = None if heading is None else _heading(heading)
    return Enclosed(_str(part), _str(within), shown, _str(text), _optional(html))


def _told_fields(one: Told) -> list[object]:
    match one:
        case Event():
            begins, ends = _moment_fields(one.begins), _moment_fields(one.ends)
            places = [one.where, one.organiser, one.people, one.notes, one.answer]
            return ["event", one.part, one.method, one.what, begins, ends, one.repeats, *places]
        case Card():
            return ["card", one.part, one.name, one.lines]
        case Report():
            return ["report", one.part, one.recipient, one.action, one.status, one.reason]


def _told(tag: object, *fields: object) -> Told:
    if tag == "card":
        part, name, lines = fields
        return Card(_str(part), _str(name), _strings(lines))
    if tag == "report":
        part, recipient, action, status, reason = fields
        return Report(_str(part), _str(recipient), _str(action), _str(status), _str(reason))
    if tag != "event":
        raise TypeError
    part, method, what, begins, ends, repeats, where, organiser, people, notes, answer = fields
    return Event(
        part=_str(part),
        method=_str(method),
        what=_str(what),
        begins=_moment(begins),
        ends=_moment(ends),
        repeats=_bool(repeats),
        where=_str(where),
        organiser=_str(organiser),
        people=_strings(people),
        notes=_str(notes),
        answer=_str(answer),
    )


def _moment_fields(moment: Moment | None) -> list[object] | None:
    return None if moment is None else [moment.at.isoformat(), moment.zone, moment.all_day]


def _moment(fields: object) -> Moment | None:
    if fields is None:
        return None
    if not isinstance(fields, list):
        raise TypeError
    at, zone, all_day = fields
    found = datetime.fromisoformat(_str(at))
    if found.tzinfo is not None:
        raise ValueError("a wall clock has its zone beside it")
    return Moment(found, _str(zone), _bool(all_day))


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


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
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
