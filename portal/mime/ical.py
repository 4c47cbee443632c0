"""Calendars and cards put into fields that a page can say: invitations (RFC 5545, 5546) and vCards (RFC 6350, 2426, 2.1).

Both are content lines, which the icalendar library takes apart; it gets no more of them than portal/mime/limits.py allows. What a
zone means is not worked out (its rules are the sender's own, and may be endless): a time is said as the calendar says it, with
the zone's name. Only the render process comes here, and loads the library when there is a first calendar.
"""

import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from portal.mime import Card, Event, Moment
from portal.mime.charsets import decode
from portal.mime.limits import (
    MAX_HEADING_CHARS,
    MAX_LINE_CHARS,
    MAX_LINES,
    MAX_LINES_BYTES,
    MAX_NOTES_CHARS,
    MAX_PEOPLE,
    MAX_TOLD,
)
from portal.mime.words import plain, spoken

_FOLD = re.compile(r"\r?\n[ \t]")
_SOFT_BREAK = re.compile(r"=\r?\n")
_BARE = re.compile(r";([A-Za-z0-9-]+)(?=[;:])")
_VALUE = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")
_DURATION = re.compile(r"\+?P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})S)?)?\Z")
_TOO_LONG = timedelta(days=3660)
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_EVENTS = ("VEVENT", "VTODO", "VJOURNAL")
_METHODS = ("request", "cancel", "reply", "publish", "counter", "declinecounter", "add", "refresh")
_ANSWERS = ("accepted", "declined", "tentative")
_CARD_LINES = ("ORG", "TITLE", "ROLE", "TEL", "EMAIL", "ADR", "URL", "NOTE")


class Unreadable(Exception):
    """No calendar, no card, or more of it than is looked at."""


@dataclass
class _Line:
    """A content line: `params` and `text` without escapes, `raw` as it stands there."""

    name: str
    params: dict[str, str]
    text: str
    raw: str


@dataclass
class _Component:
    lines: list[_Line] = field(default_factory=list)

    def first(self, name: str) -> _Line | None:
        return next((line for line in self.lines if line.name == name), None)

    def text(self, name: str, limit: int = MAX_HEADING_CHARS) -> str:
        line = self.first(name)
        return plain(line.text, limit) if line else ""


def events(content: bytes, charset: str, part: str) -> list[Event]:
    """What the calendar says, each of its entries once. Raises Unreadable."""
    calendar, entry = _Component(), _Component()
    entries: list[_Component] = []
    inside: list[str] = []
    for line in _lines(content, charset):
        what = line.raw.strip().upper()
        if line.name == "BEGIN":
            inside.append(what)
            if what in _EVENTS:
                entry = _Component()
        elif line.name == "END":
            if what in _EVENTS and inside and inside[-1] == what and len(entries) < MAX_TOLD:
                entries.append(entry)
            inside = inside[:-1]
        elif inside == ["VCALENDAR"]:
            calendar.lines.append(line)
        elif inside and inside[-1] in _EVENTS:  # what belongs to an alarm in it is not of the event
            entry.lines.append(line)
    method = calendar.text("METHOD").lower()
    found = [_event(one, method if method in _METHODS else "", part) for one in entries]
    if not found:
        raise Unreadable
    return list(dict.fromkeys(found))


def cards(content: bytes, charset: str, part: str) -> list[Card]:
    """The people and places in it. Raises Unreadable."""
    found: list[Card] = []
    card: _Component | None = None
    for line in _lines(content, charset):
        if line.name == "BEGIN" and line.raw.strip().upper() == "VCARD":
            card = _Component()
        elif line.name == "END" and card is not None:
            if len(found) < MAX_TOLD:
                found.append(_card(card, part))
            card = None
        elif card is not None:
            card.lines.append(line)
    if not found:
        raise Unreadable
    return list(dict.fromkeys(found))


def _lines(content: bytes, charset: str) -> Iterator[_Line]:
    """The content lines that can be read; one that can't is passed over."""
    from icalendar.parser import Contentline, unescape_backslash

    read: Callable[[str], Contentline] = Contentline
    text = decode(content, charset or None)[0] if len(content) <= MAX_LINES_BYTES else ""
    if "QUOTED-PRINTABLE" in text.upper():
        text = _SOFT_BREAK.sub("", text)  # vCard 2.1 folds these in a way of its own
    lines = _FOLD.sub("", text.lstrip("\ufeff")).splitlines()
    if not text or len(lines) > MAX_LINES:
        raise Unreadable
    for line in lines:
        if not line.strip() or len(line) > MAX_LINE_CHARS:
            continue
        try:
            name, params, raw = read(_typed(line)).raw_parts()
            value = unescape_backslash(raw)
        except (ValueError, AssertionError):
            continue
        known = {str(key).upper(): _joined(one) for key, one in params.items()}
        if known.get("ENCODING", "").upper() == "QUOTED-PRINTABLE":
            value = raw = decode(binascii.a2b_qp(raw.encode()), known.get("CHARSET") or charset or None)[0]
        yield _Line(str(name).upper().rpartition(".")[2], known, str(value), str(raw))


def _typed(line: str) -> str:
    """`TEL;WORK:` of vCard 2.1 as `TEL;TYPE=WORK:`."""
    head, colon, rest = line.partition(":")
    return _BARE.sub(r";TYPE=\1", head + colon) + rest if ";" in head and '"' not in head else line


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# -- calendars


def _event(entry: _Component, method: str, part: str) -> Event:
    begins, all_day = _moment(entry.first("DTSTART")), False
    if begins is None:
        begins = _moment(entry.first("DUE"))
    else:
        all_day = begins.all_day
    people = [_person(line) for line in entry.lines if line.name == "ATTENDEE"]
    organiser = entry.first("ORGANIZER")
    answers = [line.params.get("PARTSTAT", "").lower() for line in entry.lines if line.name == "ATTENDEE"]
    if entry.text("STATUS").upper() == "CANCELLED":
        method = "cancel"
    return Event(
        part=part,
        method=method,
        what=entry.text("SUMMARY"),
        begins=begins,
        ends=_end(entry, begins, all_day),
        repeats=entry.first("RRULE") is not None or entry.first("RDATE") is not None,
        where=entry.text("LOCATION"),
        organiser=_person(organiser) if organiser else "",
        people=_few([one for one in people if one]),
        notes=spoken(found.text)[:MAX_NOTES_CHARS].strip() if (found := entry.first("DESCRIPTION")) else "",
        answer=answers[0] if method == "reply" and answers and answers[0] in _ANSWERS else "",
    )


def _end(entry: _Component, begins: Moment | None, all_day: bool) -> Moment | None:
    """When it ends. DTEND is the first moment after it, and so, of whole days, the day after the last (RFC 5545 3.6.1)."""
    ends = _moment(entry.first("DTEND"))
    length = entry.first("DURATION")
    if ends is None and begins is not None and length is not None and (found := _DURATION.match(length.raw.strip())):
        weeks, days, hours, minutes, seconds = (int(one or 0) for one in found.groups())
        lasting = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        if timedelta(0) < lasting <= _TOO_LONG:
            ends = _later(begins, lasting)
    if ends is None or begins is None or ends == begins or ends.all_day != all_day:
        return None if all_day or ends == begins else ends
    return _later(ends, timedelta(days=-1), not_before=begins.at) if all_day else ends


def _later(moment: Moment, by: timedelta, not_before: datetime = datetime.min) -> Moment | None:
    try:
        at = moment.at + by
    except OverflowError:
        return None
    return Moment(at, moment.zone, moment.all_day) if at > not_before else None


def _moment(line: _Line | None) -> Moment | None:
    found = _VALUE.match(line.raw.strip()) if line else None
    if line is None or found is None:
        return None
    day, time, utc = found.groups()
    try:
        at = datetime.strptime(day + (time or "000000").replace("60", "59"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    if not _FIRST_YEAR <= at.year <= _LAST_YEAR:  # nobody is invited there, and no clock of another zone may be
        return None
    zone = "UTC" if utc else plain(line.params.get("TZID", ""), 100)
    return Moment(at, zone if time else "", time is None)


def _person(line: _Line) -> str:
    """`Name <address>`; a name brings no angle brackets of its own."""
    name = plain(line.params.get("CN", ""), 200).translate(_NO_ANGLES).strip()
    scheme, _, address = line.raw.partition(":")
    address = plain(address if scheme.strip().lower() == "mailto" else "", 320).translate(_NO_ANGLES)
    if not name or not address or name == address:
        return name or address
    return f"{name} <{address}>"


def _few(people: list[str]) -> tuple[str, ...]:
    return (*people[:MAX_PEOPLE], "…") if len(people) > MAX_PEOPLE else tuple(people)


_NO_ANGLES = str.maketrans("", "", '<>"')


# -- cards


def _card(card: _Component, part: str) -> Card:
    says: Callable[[str], list[str]] = lambda name: [  # noqa: E731
        said for line in card.lines if line.name == name and (said := _fields(line))
    ]
    names = says("FN") or says("N") or says("ORG") or says("NICKNAME")
    lines = [said for name in _CARD_LINES for said in says(name)]
    return Card(part, names[0] if names else "", _few(lines))


def _fields(line: _Line) -> str:
    """A value whose fields, between semicolons, are said one after the other; a `tel:` or `mailto:` in front is not said."""
    value = re.sub(r"\A(?:tel|mailto):", "", line.text.strip(), flags=re.IGNORECASE)
    return plain(", ".join(one.strip() for one in value.split(";") if one.strip()), MAX_HEADING_CHARS)
