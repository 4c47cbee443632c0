"""Routes of ends: holds, the dry run of disposition, and certificates of what was destroyed."""

from datetime import UTC, date, datetime, timedelta

from starlette.responses import PlainTextResponse, Response

from portal.db.holds import Criteria
from portal.lifecycle.hold import review_day
from portal.model.errors import InputRefused, NotFound
from portal.model.ids import MessageId, is_id
from portal.model.staff import Verb
from portal.web.staff.signin import form, wrong
from portal.web.staff.site import StaffVisit
from portal.web.staff.words import next_day


async def holds(visit: StaffVisit) -> Response:
    org_id = (await visit.signed_in()).org_id
    found = await visit.site.holds.every(org_id, (await visit.person()).by)
    now = visit.site.source.now()
    rows = [
        {
            "hold": one,
            "criteria": await visit.site.messages.criteria_in_words(org_id, one.criteria),
            "overdue": one.released_at is None and one.review_at <= now,
        }
        for one in found
    ]
    return visit.page("holds", rows=rows, done=visit.request.query_params.get("done", ""))


async def new_hold(visit: StaffVisit) -> Response:
    asked = visit.request.query_params
    message = asked.get("message", "")
    return await _new(visit, {"message": message if is_id(message) else ""})


async def _new(visit: StaffVisit, typed: dict[str, str], error: dict[str, str] | None = None) -> Response:
    session, person = await visit.signed_in(), await visit.person()
    defaults = {
        "owner": await visit.site.people.address(session),
        "review": (visit.site.source.now() + timedelta(days=90)).date().isoformat(),
    }
    classes = await visit.site.classes(person.by).every(session.org_id)
    return visit.page(
        "hold_new", status=422 if error else 200, typed={**defaults, **typed}, classes=classes, error=error
    )


async def place(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    view = await visit.view(Verb.HOLD)
    try:
        message = fields.get("message", "").strip()
        if message and not is_id(message):
            raise InputRefused("This is no id of a message. It stands on the message's page.", "message")
        recipient_id = None
        if typed := fields.get("recipient", "").strip():
            recipient_id = await visit.site.messages.look_up(view, typed)
            if recipient_id is None:
                raise InputRefused("Nobody with this address has had a message here.", "recipient")
        until = _day(fields, "until")
        criteria = Criteria(
            message_id=MessageId(message) if message else None,
            recipient_id=recipient_id,
            sender_hash=visit.site.messages.sender_hash(view, typed)
            if (typed := fields.get("sender", "").strip())
            else None,
            policy_name=fields.get("class") or None,
            accepted_from=_day(fields, "from"),
            accepted_until=next_day(until) if until else None,
        )
        review_at = review_day(fields.get("review", ""), visit.site.source.now())
        hold = await visit.site.holds.place(
            person.org_id, criteria, fields.get("reason", ""), fields.get("owner", ""), review_at, person.by
        )
    except InputRefused as error:
        return await _new(visit, fields, wrong(error.field or "main", error.say))
    except NotFound:
        return await _new(visit, fields, wrong("message", "There is no message with this id."))
    return visit.go(f"/staff/holds/{hold.id}?done=placed")


def _day(fields: dict[str, str], name: str) -> datetime | None:
    text = fields.get(name, "").strip()
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC) if text else None
    except ValueError:
        raise InputRefused("Write a day as year-month-day, such as 2026-11-21.", name) from None


async def hold(visit: StaffVisit) -> Response:
    return await _hold(visit)


async def _hold(visit: StaffVisit, error: dict[str, str] | None = None, typed: str = "") -> Response:
    org_id = (await visit.signed_in()).org_id
    found = await visit.site.holds.one(org_id, visit.request.path_params["hold"], (await visit.person()).by)
    return visit.page(
        "hold",
        status=422 if error else 200,
        hold=found,
        criteria=await visit.site.messages.criteria_in_words(org_id, found.criteria),
        done=visit.request.query_params.get("done", ""),
        typed=typed,
        error=error,
    )


async def release(visit: StaffVisit) -> Response:
    fields, person = await form(visit), await visit.person()
    wanted = visit.request.path_params["hold"]
    try:
        await visit.site.holds.release(person.org_id, wanted, fields.get("reason", ""), person.by)
    except InputRefused as error:
        return await _hold(visit, wrong(error.field or "reason", error.say), fields.get("reason", ""))
    return visit.go("/staff/holds?done=released")


async def disposition(visit: StaffVisit) -> Response:
    """The dry run: what the next run destroys; and the certificates of what earlier ones did."""
    person = await visit.person()
    due = await visit.site.disposition.dry_run(person.org_id, person.by)
    certificates = await visit.site.certificates.every(person.org_id)
    done = visit.request.query_params.get("done", "")
    return visit.page(
        "disposition",
        due=due,
        messages=len({one.message_id for one in due}),
        certificates=certificates,
        verifier=visit.site.certificates.verifier,
        done=done if done.isdigit() else "",
    )


async def dispose(visit: StaffVisit) -> Response:
    """Runs it now, rather than within the next ten minutes."""
    await form(visit)
    count = await visit.site.disposition.run(org_id=(await visit.person()).org_id)
    return visit.go(f"/staff/disposition?done={count}")


async def certificate(visit: StaffVisit) -> Response:
    person = await visit.person()
    found = await visit.site.certificates.one(person.org_id, visit.request.path_params["certificate"], person.by)
    response = PlainTextResponse(found.note)
    response.headers["content-disposition"] = f'attachment; filename="certificate-{found.id}.txt"'
    return visit.settled(response)
