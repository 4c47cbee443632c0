"""Acts on deliveries: one recipient, several, all of a message, or a selection of the list. Each is shown with its effect before it
is done, and a page that is older than the deliveries are is shown again instead.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlencode

from starlette.responses import Response

from portal.console.messages import Shown
from portal.db.deliveries import Delivery
from portal.lifecycle.end import Outcome
from portal.model.errors import InputRefused
from portal.model.message import READABLE, DeliveryState, Step, after
from portal.model.staff import Person, Role, Scope, Verb, check_reason
from portal.web.staff.signin import form_pairs, wrong
from portal.web.staff.site import StaffVisit

_MOST_FIELDS = 300
RESTORED_FOR = timedelta(days=14)
"""How long something can be read that is given back after its end."""
Fields = dict[str, str]


@dataclass(frozen=True)
class Act:
    """An act as its page shows it. `effect` says what it does to so many recipients."""

    name: str
    verb: Verb
    title: str
    button: str
    fields: tuple[str, ...]
    effect: Callable[[int], str]
    undone: str = ""


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


ACTS: dict[str, Act] = {
    one.name: one
    for one in (
        Act(
            "revoke",
            Verb.REVOKE,
            "Take back",
            "Take back",
            ("reason",),
            lambda n: f"{_people(n)} will no longer be able to read this. Downloads under way stop within a second.",
            "You can give it back later.",
        ),
        Act(
            "restore",
            Verb.RESTORE,
            "Give back",
            "Give back",
            ("reason",),
            lambda n: (
                f"{_people(n)} will be able to read this again, until the end it had before; where that is past, for 14 days."
            ),
        ),
        Act(
            "extend",
            Verb.EXTEND,
            "Give more time",
            "Give more time",
            ("until",),
            lambda n: f"{_people(n)} will be able to read this until the day you choose, also where it had ended.",
        ),
        Act(
            "expire",
            Verb.EXPIRE,
            "End now",
            "End now",
            (),
            lambda n: f"{_people(n)} will no longer be able to read this, as if its time were up.",
            "You can give it more time later.",
        ),
        Act(
            "resend",
            Verb.RESEND,
            "Send the notice again",
            "Send the notice",
            (),
            lambda n: f"{_people(n)} will get another notice, with a new link. The links they have go on working.",
        ),
        Act(
            "access-code",
            Verb.ACCESS_CODE,
            "Set an access code",
            "Set the code",
            ("code", "hint"),
            lambda n: f"{_people(n)} will be able to prove more with this code. Any earlier code stops working.",
        ),
        Act(
            "raise",
            Verb.RAISE,
            "Ask for a stronger sign-in",
            "Change the class",
            ("policy_name",),
            lambda n: f"The whole message comes under the new class, for all its recipients. {_people(n)} chosen.",
        ),
        Act(
            "release",
            Verb.RELEASE,
            "Let through unscanned",
            "Let through",
            ("reason",),
            lambda n: f"{_people(n)} will be told of a message that no virus scanner has looked at, and can read it.",
        ),
        Act(
            "misdirected",
            Verb.MISDIRECTED,
            "It went to the wrong person",
            "Take back from everybody and keep as evidence",
            ("reason", "owner"),
            lambda n: (
                "Everybody loses the message at once, and it is held: nothing of it is destroyed until the hold is released. "
                "You get a page with the evidence to print."
            ),
        ),
    )
}


async def offered(visit: StaffVisit, shown: Sequence[Shown] | None = None) -> list[Act]:
    """The acts that this person may do; of those, the ones that some of these deliveries can undergo."""
    person = await visit.person()
    mine = [one for one in ACTS.values() if person.reach(one.verb) is not Scope.NONE]
    return mine if shown is None else [one for one in mine if any(_fits(one, each.delivery) for each in shown)]


def _fits(act: Act, one: Delivery) -> bool:
    if act.verb in _STEPS:
        return after(one.state, _STEPS[act.verb], one.progress) is not None
    if act.verb is Verb.MISDIRECTED or act.verb is Verb.ACCESS_CODE:
        return one.state is not DeliveryState.DISPOSED
    return one.state in READABLE


_STEPS = {
    Verb.REVOKE: Step.REVOKE,
    Verb.RESTORE: Step.RESTORE,
    Verb.EXTEND: Step.EXTEND,
    Verb.EXPIRE: Step.EXPIRE,
    Verb.RELEASE: Step.RELEASE,
}


def seen(shown: Sequence[Shown]) -> str:
    """How the deliveries stand, in short: a form carries it, so that a stale page is noticed."""
    facts = [f"{one.delivery.id} {one.delivery.state} {one.delivery.expires_at.isoformat()}" for one in shown]
    return hashlib.sha256("\n".join(sorted(facts)).encode()).hexdigest()[:16]


def ask(name: str) -> Callable[[StaffVisit], Awaitable[Response]]:
    """The page that shows an act and its effect."""
    act = ACTS[name]

    async def page(visit: StaffVisit) -> Response:
        ids = visit.request.query_params.getlist("d")
        shown = await visit.site.messages.chosen(await visit.view(act.verb), ids, act.name)
        person = await visit.person()
        if act.verb in _FRESH and not person.is_fresh(visit.site.source.now()):
            there = f"{visit.request.url.path}?{visit.request.url.query}"
            return visit.go(f"/staff/confirm?to={quote(there)}")
        return await _page(visit, act, shown, {})

    return page


_FRESH = (Verb.EXPIRE, Verb.RAISE, Verb.RELEASE, Verb.MISDIRECTED)
"""Proved before the page, so that nothing typed is lost on the way."""


async def _page(
    visit: StaffVisit,
    act: Act,
    shown: list[Shown],
    typed: Fields,
    error: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    org_id = (await visit.signed_in()).org_id
    by = (await visit.person()).by
    classes = await visit.site.classes(by).every(org_id) if act.name == "raise" else []
    now = visit.site.source.now()
    return visit.page(
        "act",
        status=status,
        act=act,
        shown=shown,
        effect=act.effect(len(shown)),
        seen=seen(shown),
        typed=typed,
        proposal=visit.site.access_codes.proposal() if act.name == "access-code" else "",
        classes=classes,
        days=[(days, now + timedelta(days=days)) for days in (7, 14, 30, 90)],
        messages=len({one.delivery.message_id for one in shown}),
        error=error,
    )


def do(name: str) -> Callable[[StaffVisit], Awaitable[Response]]:
    """Does an act, on the deliveries as the page showed them."""
    act = ACTS[name]

    async def post(visit: StaffVisit) -> Response:
        pairs = await form_pairs(visit, _MOST_FIELDS)
        fields = dict(pairs)
        ids = [value for key, value in pairs if key == "d"]
        shown = await visit.site.messages.chosen(await visit.view(act.verb), ids)
        if fields.get("seen") != seen(shown):
            stale = "Something changed since you opened this page. Look at it as it is now, then repeat what you did."
            return await _page(visit, act, shown, fields, wrong("main", stale), 409)
        try:
            outcomes = await _DO[name](visit, await visit.person(), shown, fields)
        except InputRefused as error:
            return await _page(visit, act, shown, fields, wrong(error.field or "main", error.say), 422)
        refused = [one for one in outcomes if one.refused]
        if refused:
            names = {one.delivery.id: one.recipient for one in shown}
            lines = [{"recipient": names[one.delivery.id], "refused": one.refused} for one in outcomes]
            status = 409 if len(refused) == len(outcomes) else 200
            return visit.page("outcomes", status=status, act=act, lines=lines, to=_then(visit, act, shown, fields))
        return visit.go(_then(visit, act, shown, fields))

    return post


def _then(visit: StaffVisit, act: Act, shown: list[Shown], fields: Fields) -> str:
    done = urlencode({"done": act.name})
    if fields.get("back") == "requests":
        return f"/staff/requests?{done}"
    messages = {one.delivery.message_id for one in shown}
    if act.name == "misdirected":
        return f"/staff/messages/{shown[0].delivery.message_id}/evidence"
    return f"/staff/messages/{messages.pop()}?{done}" if len(messages) == 1 else f"/staff/messages?{done}"


# -- each act


async def _revoke(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    reason = check_reason(fields.get("reason", ""))
    return await visit.site.lifecycle.each(
        _deliveries(shown), lambda one: visit.site.lifecycle.revoke(one, person.by, reason)
    )


async def _restore(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    reason = check_reason(fields.get("reason", ""))
    now = visit.site.source.now()

    async def act(one: Delivery) -> bool:
        if person.role is Role.SENDER and await visit.site.misdirected.frozen(one.message_id):
            raise InputRefused("It went to the wrong person, and is frozen. Ask an admin to give it back.")
        if not await visit.site.lifecycle.restore(one, person.by, reason):
            return False
        if one.expires_at > now:
            return True
        back = await visit.site.messages.chosen(await visit.view(Verb.RESTORE), [one.id])
        return await visit.site.lifecycle.extend(back[0].delivery, person.by, now + RESTORED_FOR)

    return await visit.site.lifecycle.each(_deliveries(shown), act)


async def _extend(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    until = _until(fields, visit.site.source.now())
    shorter = [one for one in shown if one.delivery.state in READABLE and one.delivery.expires_at >= until]
    if shorter:
        raise InputRefused("Choose a day after the end it has now. To end it sooner, end it now.", "until")
    return await visit.site.lifecycle.each(
        _deliveries(shown), lambda one: visit.site.lifecycle.extend(one, person.by, until)
    )


def _until(fields: Fields, now: datetime) -> datetime:
    """A number of days from now, or the end of a day. Raises InputRefused."""
    days = fields.get("days", "")
    if days.isascii() and days.isdigit() and 1 <= int(days[:5]) <= 3660:
        return now + timedelta(days=int(days[:5]))
    try:
        day = date.fromisoformat(fields.get("until", "").strip())
    except ValueError:
        raise InputRefused("Choose how long, or write a day as year-month-day, such as 2027-01-31.", "until") from None
    return datetime.combine(day, datetime.max.time(), UTC).replace(microsecond=0)


async def _expire(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    return await visit.site.lifecycle.each(_deliveries(shown), lambda one: visit.site.lifecycle.expire(one, person.by))


async def _resend(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    return await visit.site.lifecycle.each(_deliveries(shown), lambda one: visit.site.resend.send(one, person.by))


async def _access_code(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    ended = [one for one in shown if one.delivery.state is DeliveryState.DISPOSED]
    if ended:
        raise InputRefused("One of these is destroyed: no code opens it any more.")
    await visit.site.access_codes.set(_deliveries(shown), fields.get("code", ""), fields.get("hint", ""), person.by)
    return [Outcome(one) for one in _deliveries(shown)]


async def _raise(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    outcomes = []
    wanted = fields.get("policy_name", "")
    for message_id in dict.fromkeys(one.delivery.message_id for one in shown):
        of_it = [one.delivery for one in shown if one.delivery.message_id == message_id]
        try:
            await visit.site.reclass.raise_to(person.org_id, message_id, wanted, person.by)
            outcomes += [Outcome(one) for one in of_it]
        except InputRefused as error:
            if len({one.delivery.message_id for one in shown}) == 1:
                raise
            outcomes += [Outcome(one, error.say) for one in of_it]
    return outcomes


async def _release(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    reason = check_reason(fields.get("reason", ""))
    return await visit.site.lifecycle.each(
        _deliveries(shown), lambda one: visit.site.release.let_through(one, person.by, reason)
    )


async def _misdirected(visit: StaffVisit, person: Person, shown: list[Shown], fields: Fields) -> list[Outcome]:
    ids = {one.delivery.message_id for one in shown}
    if len(ids) != 1:
        raise InputRefused("Do this for one message at a time: each gets its own hold and its own evidence.")
    reason, owner = fields.get("reason", ""), fields.get("owner", "")
    await visit.site.misdirected.act(person.org_id, ids.pop(), reason, owner, person.by)
    return [Outcome(one) for one in _deliveries(shown)]


_DO: dict[str, Callable[[StaffVisit, Person, list[Shown], Fields], Awaitable[list[Outcome]]]] = {
    "revoke": _revoke,
    "restore": _restore,
    "extend": _extend,
    "expire": _expire,
    "resend": _resend,
    "access-code": _access_code,
    "raise": _raise,
    "release": _release,
    "misdirected": _misdirected,
}


def _deliveries(shown: Sequence[Shown]) -> list[Delivery]:
    return [one.delivery for one in shown]
