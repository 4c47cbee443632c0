"""How dates, sizes and kinds of file are said: the filters of every page and letter.

Each takes Jinja's context first, for the language (`lang`), the time zone (`tz`) and the moment (`now`).
Long dates are kept by day and language: asking Babel anew costs more than the rest of a page.
"""

import datetime as clock
from collections.abc import Callable, Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_decimal
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from portal.mime import Event, Moment
from portal.web.languages import catalogue, dates, direction, mark

_KINDS: Mapping[str, str] = {
    "application/pdf": mark("PDF document"),
    "application/zip": mark("Archive of files"),
    "application/msword": mark("Word document"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": mark("Word document"),
    "application/vnd.ms-excel": mark("Spreadsheet"),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": mark("Spreadsheet"),
    "message/rfc822": mark("Email"),
    "message": mark("Email"),
    "text/calendar": mark("Calendar entry"),
    "calendar": mark("Calendar entry"),
    "contact": mark("Contact card"),
    "report": mark("Delivery report"),
    "smime-signed": mark("Signed email (S/MIME), signature not checked"),
    "smime-encrypted": mark("Encrypted email (S/MIME)"),
    "pgp-encrypted": mark("Encrypted email (PGP)"),
    "signature": mark("Digital signature, not checked"),
    "key": mark("Key for encrypted email (PGP)"),
    "outlook": mark("Outlook file (winmail.dat)"),
    "text/csv": mark("Spreadsheet"),
    "image": mark("Picture"),
    "audio": mark("Sound"),
    "video": mark("Video"),
    "text": mark("Text"),
}
_UNITS = ("bytes", "KB", "MB", "GB")


@pass_context
def datetime(context: Context, at: clock.datetime) -> str:
    """ "21 November 2026, 10:42", in the zone of the page; UTC is said."""
    local, zone = _local(context, at)
    return f"{_said(context, local)}{zone}"


@pass_context
def date(context: Context, at: clock.datetime) -> str:
    """ "21 November 2026", in the zone of the page."""
    return _long(_local(context, at)[0].date(), context["lang"])


@pass_context
def when(context: Context, at: clock.datetime) -> Markup:
    """What `datetime` says, as a `time` element."""
    return _element(at, datetime(context, at))


@pass_context
def day(context: Context, at: clock.datetime) -> Markup:
    """What `date` says, as a `time` element."""
    return _element(at, date(context, at))


@pass_context
def clock_time(context: Context, at: clock.datetime) -> str:
    """ "10:42", in the zone of the page; UTC is said."""
    local, zone = _local(context, at)
    return f"{_time(local)}{zone}"


@pass_context
def appointment(context: Context, event: Event) -> str:
    """ "21 November 2026, 10:42 - 11:30 (Europe/Berlin)": the clock of the calendar's own zone, which is named as it names it.

    A time in UTC is said on the page's clock, with that clock's zone.
    """
    if event.begins is None:
        return ""
    begins, zone = _on_the_wall(context, event.begins)
    said = _said(context, begins, event.begins.all_day)
    if event.ends is not None:
        ends, ends_zone = _on_the_wall(context, event.ends)
        timed = not event.ends.all_day
        if timed and ends.date() == begins.date() and ends_zone == zone:
            said = f"{said} - {_time(ends)}"
        else:
            other = f" ({zone})" if zone and zone != ends_zone else ""
            said, zone = f"{said}{other} - {_said(context, ends, not timed)}", ends_zone
    return f"{said} ({zone})" if zone else said


@pass_context
def filesize(context: Context, size: int) -> str:
    """ "1.2 MB": one decimal below ten, none above, as file managers show it (1 KB is 1,000 bytes).

    Between Arabic words the number and its unit would change places: there they are kept together.
    """
    amount, unit = float(size), 0
    while amount >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    pattern = "0.#" if unit and amount < 9.95 else "0"
    number = format_decimal(amount, pattern, locale=dates(context["lang"]))
    said = f"{number} {_UNITS[unit]}"
    return f"\u2066{said}\u2069" if direction(context["lang"]) == "rtl" else said


@pass_context
def day_left(context: Context, until: clock.datetime) -> str:
    """How many days remain, in calm words: "14 days left", and on the last one "last day"."""
    days = (_local(context, until)[0].date() - _local(context, context["now"])[0].date()).days
    words = catalogue(context["lang"])
    if days < 1:
        return words.gettext("last day")
    return words.ngettext("%(num)s day left", "%(num)s days left", days) % {"num": days}


@pass_context
def kind(context: Context, media_type: str) -> str:
    """What a file is, in words a patient knows: by its media type, or by a word of portal/mime/kinds.py."""
    said = _KINDS.get(media_type) or _KINDS.get(media_type.partition("/")[0]) or mark("File")
    return catalogue(context["lang"]).gettext(said)


def stamp(at: clock.datetime) -> str:
    """A moment in a table of the console: short, UTC."""
    return at.astimezone(clock.UTC).strftime("%-d %b %Y, %H:%M")


def stamp_day(at: clock.datetime) -> str:
    return at.astimezone(clock.UTC).strftime("%-d %b %Y")


FILTERS: Mapping[str, Callable[..., str]] = {
    "stamp": stamp,
    "stamp_day": stamp_day,
    "datetime": datetime,
    "date": date,
    "when": when,
    "day": day,
    "clock_time": clock_time,
    "filesize": filesize,
    "day_left": day_left,
    "appointment": appointment,
    "kind": kind,
}


def _local(context: Context, at: clock.datetime) -> tuple[clock.datetime, str]:
    """The moment on the page's clock, and what to say after it. A naive moment is refused: it has no clock."""
    if at.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be shown")
    zone = str(context["tz"])
    return at.astimezone(_zone(zone)), " UTC" if zone == "UTC" else ""


def _said(context: Context, local: clock.datetime, all_day: bool = False) -> str:
    comma = "،" if context["lang"] == "ar" else ","
    day = _long(local.date(), context["lang"])
    return day if all_day else f"{day}{comma} {_time(local)}"


def _on_the_wall(context: Context, moment: Moment) -> tuple[clock.datetime, str]:
    if moment.zone != "UTC":
        return moment.at, moment.zone
    return _local(context, moment.at.replace(tzinfo=clock.UTC))[0], str(context["tz"])


def _time(local: clock.datetime) -> str:
    return f"{local.hour:02}:{local.minute:02}"


def _element(at: clock.datetime, said: str) -> Markup:
    moment = at.isoformat(timespec="minutes")
    return Markup(f'<time datetime="{moment}">{escape(said)}</time>')  # noqa: S704 - a date in figures, and escaped words


@lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _long(day: clock.date, lang: str) -> str:
    return format_date(day, "long", locale=dates(lang))
