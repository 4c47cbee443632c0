"""Routes of messages: the list with its search, one message with a timeline a recipient, evidence, requests, what ended unread."""

from dataclasses import replace
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.responses import Response

from portal.console import View
from portal.console.messages import Shown, Timeline
from portal.db.overview import NOTICES, Wanted
from portal.model.errors import InputRefused
from portal.model.ids import DeliveryId, RecipientId, is_id
from portal.model.message import DeliveryState
from portal.model.staff import Verb
from portal.web.staff.acts import offered, seen
from portal.web.staff.signin import form, wrong
from portal.web.staff.site import StaffVisit
from portal.web.staff.words import lines_of, next_day

_HASH = 64


async def listed(visit: StaffVisit) -> Response:
    return await _list(visit, dict(visit.request.query_params))


async def _list(
    visit: StaffVisit,
    asked: dict[str, str],
    error: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    view = await visit.view(Verb.SEE)
    wanted = _wanted(asked)
    if view.own is not None:  # it is hers, or it is nobody's
        wanted = replace(wanted, sender_hash=None)
    before = asked.get("before", "")
    page = await visit.site.messages.search(view, wanted, DeliveryId(before) if is_id(before) else None)
    recipient = await _recipient_words(visit, view, wanted) if wanted.recipient_id is not None else ""
    sender = (
        await visit.site.messages.sender_address(view.org_id, wanted.sender_hash)
        if wanted.sender_hash is not None
        else ""
    )
    kept = {name: value for name, value in asked.items() if name in _FILTERS and value}
    more = f"/staff/messages?{urlencode({**kept, 'before': page.after})}" if page.after else ""
    return visit.page(
        "messages",
        status=422 if error else 200,
        shown=page.shown,
        more=more,
        first=not before,
        asked=asked,
        typed=typed or {},
        searched={"recipient": recipient, "sender": sender},
        kept=kept,
        narrowed=bool(wanted.named),
        stopped=[] if wanted.named or before else await visit.site.messages.stopped(view),
        states=[state.value for state in DeliveryState],
        notices=NOTICES,
        classes=[one.name for one in await visit.site.classes((await visit.person()).by).every(view.org_id)],
        own=view.own is not None,
        offered=await offered(visit),
        done=asked.get("done", "") if visit.request.method == "GET" else "",
        error=error,
    )


_FILTERS = ("state", "notice", "class", "from", "until", "recipient", "sender")


def _wanted(asked: dict[str, str]) -> Wanted:
    """The filter in an address: what is not understood narrows nothing. People stand there as ids and hashes, never as addresses."""
    state, notice, name = (asked.get(one, "") for one in ("state", "notice", "class"))
    recipient, sender = asked.get("recipient", ""), asked.get("sender", "")
    until = _day(asked.get("until", ""))
    return Wanted(
        recipient_id=RecipientId(recipient) if is_id(recipient) or recipient == _NOBODY else None,
        sender_hash=bytes.fromhex(sender) if len(sender) == _HASH and set(sender) <= set("0123456789abcdef") else None,
        policy_name=name if name and name.isprintable() else None,  # PostgreSQL takes no NUL in a text
        state=DeliveryState(state) if state in set(DeliveryState) else None,
        notice=notice if notice in NOTICES else None,
        accepted_from=_day(asked.get("from", "")),
        accepted_until=next_day(until) if until else None,
    )


_NOBODY = "nobody"
"""The recipient of a search for an address that nobody here has."""


def _day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) if text else None
    except ValueError:
        return None


async def _recipient_words(visit: StaffVisit, view: View, wanted: Wanted) -> str:
    assert wanted.recipient_id is not None
    known = await visit.site.messages.sees(view, wanted.recipient_id)
    shown = await visit.site.messages.recipient_address(view.org_id, wanted.recipient_id) if known else ""
    return shown or "an address that has had no message"


async def find(visit: StaffVisit) -> Response:
    """Turns what was typed into an address of the list that names no person."""
    fields = await form(visit)
    view = await visit.view(Verb.SEE)
    asked = {name: fields.get(name, "").strip() for name in ("state", "notice", "class", "from", "until")}
    try:
        for name in ("from", "until"):
            if asked[name] and _day(asked[name]) is None:
                raise InputRefused("Write a day as year-month-day, such as 2026-11-21.", name)
        if typed := fields.get("recipient", "").strip():
            asked["recipient"] = await visit.site.messages.look_up(view, typed) or _NOBODY
        if typed := fields.get("sender", "").strip():
            asked["sender"] = visit.site.messages.sender_hash(view, typed).hex()
    except InputRefused as error:
        return await _list(visit, asked, wrong(error.field or "recipient", error.say), fields)
    return visit.go(f"/staff/messages?{urlencode({name: value for name, value in asked.items() if value})}")


async def one(visit: StaffVisit) -> Response:
    view = await visit.view(Verb.SEE)
    message = await visit.site.messages.message(view, visit.request.path_params["message"])
    recipients = [_block(one) for one in message.timelines]
    return visit.page(
        "message",
        message=message,
        first=message.timelines[0].shown,
        recipients=recipients,
        offered=await offered(visit, [one.shown for one in message.timelines]),
        done=visit.request.query_params.get("done", ""),
        waits=any(one.shown.delivery.state is DeliveryState.UNSCANNED for one in message.timelines),
    )


def _block(one: Timeline) -> dict[str, object]:
    """A recipient of a message as the page shows him: state, facts, and the timeline in words."""
    return {
        "shown": one.shown,
        "lines": lines_of(one),
        "viewed": one.viewed,
        "machines": one.machines,
        "has_access_code": one.has_access_code,
        "transcript": one.came.transcript if one.came else (),
        "safe": one.safe.transcript if one.safe else (),
    }


async def evidence(visit: StaffVisit) -> Response:
    """What is known of a message that went to the wrong person, for printing: views, machine fetches apart, notices."""
    view = await visit.view(Verb.MISDIRECTED)
    message = await visit.site.messages.message(view, visit.request.path_params["message"], "evidence")
    return visit.page(
        "evidence",
        message=message,
        first=message.timelines[0].shown,
        recipients=[_block(one) for one in message.timelines],
        printed_at=visit.site.source.now(),
        printed_by=await visit.site.people.address(await visit.signed_in()),
    )


async def requests(visit: StaffVisit) -> Response:
    """Each is answered by one press: more time, or given back."""
    view = await visit.view(Verb.REQUESTS)
    shown = await visit.site.messages.requests(view)
    rows = [{"shown": one, "seen": seen([one]), "act": _answer(one)} for one in shown]
    return visit.page("requests", rows=rows, done=visit.request.query_params.get("done", ""))


def _answer(one: Shown) -> str:
    if one.delivery.state in (DeliveryState.REVOKED, DeliveryState.GRADUATED):
        return "restore"
    return "" if one.delivery.state is DeliveryState.DISPOSED else "extend"


async def unread(visit: StaffVisit) -> Response:
    before = visit.request.query_params.get("before", "")
    view = await visit.view(Verb.UNREAD)
    rows, after = await visit.site.messages.unread(view, DeliveryId(before) if is_id(before) else None)
    return visit.page(
        "unread", rows=rows, more=f"/staff/unread?before={after}" if after else "", offered=await offered(visit)
    )
