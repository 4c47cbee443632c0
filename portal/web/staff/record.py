"""Routes of the record: auditors page through it and take it with them. Each look and each export is on record too."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.responses import Response, StreamingResponse

from portal.audit.export import COLUMNS, Format, as_text
from portal.db.audit import Filter, Recorded
from portal.model.events import Event
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId, is_id
from portal.web.staff.signin import form
from portal.web.staff.site import StaffVisit
from portal.web.staff.words import next_day, sentence

_FILTERS = ("kind", "message", "delivery", "actor", "from", "until")


def _filter(org_id: OrgId, asked: dict[str, str]) -> Filter:
    """What is not understood narrows nothing. Only the asker's organisation is ever looked at."""
    message, delivery, actor, kind = (asked.get(name, "").strip() for name in ("message", "delivery", "actor", "kind"))
    until = _day(asked.get("until", ""))
    return Filter(
        org_id=org_id,
        message_id=MessageId(message) if is_id(message) else None,
        delivery_id=DeliveryId(delivery) if is_id(delivery) else None,
        kind=kind if kind in Event.kinds else None,
        actor=actor if 0 < len(actor) <= 64 and actor.isprintable() else None,
        since=_day(asked.get("from", "")),
        until=next_day(until) if until else None,
    )


def _day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text.strip()), datetime.min.time(), UTC) if text.strip() else None
    except ValueError:
        return None


async def listed(visit: StaffVisit) -> Response:
    asked = dict(visit.request.query_params)
    person = await visit.person()
    wanted = _filter(person.org_id, asked)
    before = asked.get("before", "")
    page = await visit.site.record.page(wanted, before if is_id(before) else None, person.by)
    names = await _names(visit, person.org_id, page.lines)
    rows = [{"line": one, "who": names.get(one.actor, one.actor), "text": _text(one)} for one in page.lines]
    kept = {name: value for name, value in asked.items() if name in _FILTERS and value}
    more = f"/staff/record?{urlencode({**kept, 'before': page.after})}" if page.after else ""
    return visit.page("record", rows=rows, kept=kept, more=more, kinds=sorted(Event.kinds))


def _text(one: Recorded) -> str:
    said = sentence(one.kind, one.detail)
    return (
        said
        if said != one.kind
        else "; ".join(f"{name.replace('_', ' ')}: {_value(it)}" for name, it in one.detail.items())
    )


def _value(it: object) -> str:
    """A detail of an event as people write it."""
    if isinstance(it, bool):
        return "yes" if it else "no"
    if isinstance(it, list):
        return ", ".join(map(_value, it)) or "none"
    return "none" if it is None else str(it)


async def _names(visit: StaffVisit, org_id: OrgId, lines: list[Recorded]) -> dict[str, str]:
    """Who the actors of a page are: addresses of staff and recipients, as auditors must be able to say."""
    names = {}
    for one in lines:
        if not one.actor or one.actor in names:
            continue
        if one.who == "recipient" and is_id(one.actor):
            names[one.actor] = await visit.site.messages.recipient_address(org_id, RecipientId(one.actor))
        elif one.who == "staff":
            names[one.actor] = await visit.site.people.address_of(org_id, one.actor)
    return {actor: name for actor, name in names.items() if name}


async def export(visit: StaffVisit) -> Response:
    """The lines of the filter as a file, oldest first, sent as they are read. On record before the first of them leaves."""
    asked, person = await form(visit), await visit.person()
    wanted, export_ = _filter(person.org_id, asked), visit.site.export(person.by)
    kind: Format = "csv" if asked.get("format") == "csv" else "jsonl"
    await export_.done(wanted, await visit.site.record.count(wanted), kind)

    async def lines() -> AsyncIterator[bytes]:
        if kind == "csv":
            yield (",".join(COLUMNS) + "\r\n").encode()
        async for line in export_.lines(wanted):
            yield as_text(line, kind).encode()

    media = "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl"
    response = StreamingResponse(lines(), media_type=media)
    response.headers["content-disposition"] = f'attachment; filename="record.{kind}"'
    return visit.settled(response)
