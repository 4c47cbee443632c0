"""Routes of proving more (`/step-up/{delivery}`: a message needs it) and of proving anew (`/confirm`: a change needs it).

The same page and forms serve both. What was asked for is found again afterwards; nothing typed is lost.
"""

from dataclasses import dataclass

from starlette.responses import Response

from portal.db.sessions import Session
from portal.model.assurance import MAILBOX, Assurance, Method, Proof
from portal.model.errors import CodeRefused, NotFound, TooManyTries
from portal.model.ids import DeliveryId, is_id
from portal.model.links import read_code
from portal.signin.codes import CHANNELS, MAIL, TEXTS
from portal.signin.links import Door
from portal.signin.stepup import Ways
from portal.web import sentences
from portal.web.errors import minutes
from portal.web.forms import read_form
from portal.web.signin import MailState, Wrong, hidden, mail_state
from portal.web.site import Visit

_FIELDS = {
    "app": "app",
    "access-code": "access-code",
    "code": "text-code",
    "recovery-code": "recovery-code",
}


@dataclass(frozen=True)
class SentCode:
    """The last code this browser had sent, for the page."""

    channel: str
    reference: str
    mail: MailState


@dataclass(frozen=True)
class Place:
    """Where proving goes on: for a message, or for a change."""

    session: Session
    delivery_id: DeliveryId
    confirms: bool

    @property
    def base(self) -> str:
        return "/confirm" if self.confirms else f"/step-up/{self.delivery_id}"

    @property
    def then(self) -> str:
        return "/account" if self.confirms else f"/messages/{self.delivery_id}"

    @property
    def channels(self) -> tuple[str, ...]:
        """How a code may come: a mailbox that was proved already proves nothing more of a message."""
        return (MAIL, *TEXTS) if self.confirms else TEXTS


async def _place(visit: Visit) -> Place:
    """Raises SignInNeeded, NotFound."""
    session = await visit.signed_in()
    asked = visit.request.path_params.get("delivery")
    if asked is None:
        return Place(session, await visit.site.people.newest_delivery(session), confirms=True)
    if not is_id(asked) or await visit.site.reading.denied(await visit.reader(), DeliveryId(asked)) is None:
        raise NotFound("no id, or not hers, which is on record")
    return Place(session, DeliveryId(asked), confirms=False)


async def page(visit: Visit) -> Response:
    return await _page(visit, await _place(visit))


async def _page(visit: Visit, place: Place, wrong: Wrong | None = None, typed: str = "", status: int = 200) -> Response:
    session = place.session
    ways = await visit.site.step_up.ways(session, place.delivery_id)
    if not place.confirms and session.assurance >= ways.needs and wrong is None:
        return visit.go(place.then)
    methods = _methods(ways, place)
    door = await _door(visit, place)
    asked = await visit.site.codes.sent(door, visit.browser, place.channels)
    sent = (
        SentCode(asked.mail.channel, asked.reference, mail_state(asked.mail, visit.site.source.now()))
        if asked.mail
        else None
    )
    stored = await visit.site.reading.denied(await visit.reader(), place.delivery_id)
    asked_at = stored.asked_at if stored else None
    can = place.confirms or ways.reaches >= ways.needs or ways.may_add_passkey
    return visit.page(
        "step_up",
        status=status,
        mode="confirm" if place.confirms else "read",
        needs=int(ways.needs),
        can=can,
        methods=methods,
        base=place.base,
        back_href="/account" if place.confirms else "/inbox",
        hint=ways.hint,
        number=ways.number,
        address=await hidden(visit, door.named) if door.named else "",
        sent=sent,
        delivery="" if place.confirms else place.delivery_id,
        may_add_passkey=ways.may_add_passkey and not place.confirms and ways.needs is Assurance.PASSKEY,
        add_href=f"/account/passkey?for={place.delivery_id}",
        ask_href=None if can or asked_at else f"/messages/{place.delivery_id}/ask",
        asked_at=asked_at,
        error=wrong,
        typed=typed,
        here=place.base,
    )


def _methods(ways: Ways, place: Place) -> list[str]:
    """What is offered: for a change anything that shows the person anew, for a message what was not shown yet."""
    if not place.confirms:
        return [one.value for one in ways.methods]
    proven = {one.method for one in place.session.proven}
    again = [Method.PASSKEY, Method.APP, Method.SMS, Method.VOICE, Method.ACCESS_CODE]
    offered = [one for one in again if one in ways.methods or one in proven & {Method.PASSKEY, Method.APP}]
    return [one.value for one in offered] + [Method.EMAILED_CODE.value, *_recovery(ways)]


def _recovery(ways: Ways) -> list[str]:
    return [Method.RECOVERY_CODE.value] if Method.RECOVERY_CODE in ways.methods else []


async def _door(visit: Visit, place: Place) -> Door:
    return await visit.site.links.inside(visit.whose(place.session), place.delivery_id)


async def send(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    place, channel = await _place(visit), visit.request.path_params["channel"]
    ways = await visit.site.step_up.ways(place.session, place.delivery_id)
    if channel not in place.channels or (channel in TEXTS and CHANNELS[channel] not in ways.methods):
        raise NotFound("no such way to send a code")
    door = await _door(visit, place)
    try:
        await visit.site.codes.send(door, visit.browser, visit.origin, visit.language, channel)
    except TooManyTries as error:
        text = visit.site.pages.say(sentences.TOO_MANY_CODES, visit.language, minutes=minutes(error.wait))
        return await _page(visit, place, Wrong("text-code", text), status=429)
    return visit.go(place.base)


async def prove(visit: Visit) -> Response:
    """One of the forms: `app`, `access-code`, `code`, `recovery-code`. Raises NotFound for any other."""
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    place, method = await _place(visit), visit.request.path_params["method"]
    if method not in _FIELDS:
        raise NotFound("no such way")
    typed = form.get("code", "")
    try:
        token = await _proved(visit, place, method, typed)
    except CodeRefused:
        text = visit.site.pages.say(*await _said(visit, place, method, typed))
        return await _page(visit, place, Wrong(_FIELDS[method], text), typed[:64], 422)
    except TooManyTries as error:
        say = visit.site.pages.say
        closed = say(sentences.TRIES_CLOSED, visit.language)
        text = closed if error.wait is None else say(sentences.TRIES_WAIT, visit.language, minutes=minutes(error.wait))
        return await _page(visit, place, Wrong(_FIELDS[method], text), "", 429)
    return visit.raised(visit.go(place.then), token)


async def _proved(visit: Visit, place: Place, method: str, typed: str) -> str:
    site, session, delivery = visit.site, place.session, place.delivery_id
    match method:
        case "app":
            return await site.apps.step_up(session, typed, visit.client, delivery)
        case "access-code":
            return await site.step_up.access_code(session, delivery, typed, visit.client)
        case "recovery-code":
            return await site.recovery.step_up(session, typed, visit.client, visit.language, delivery)
    door = await _door(visit, place)
    code = await site.codes.check(door, visit.browser, typed[:64], visit.origin, place.channels)
    proof = MAILBOX if code.channel == MAIL else Proof(CHANNELS[code.channel])
    use = site.codes.use_up(code)
    return await site.sessions.step_up(session, proof, visit.client, use, delivery_id=delivery)


async def _said(visit: Visit, place: Place, method: str, typed: str) -> tuple[str, str]:
    """The sentence for a refusal, in the page's language."""
    match method:
        case "app":
            digits = "".join(sign for sign in typed if sign.isdigit())
            return (sentences.APP_CODE_WRONG if len(digits) == 6 else sentences.APP_CODE_SHAPE), visit.language
        case "access-code":
            return (sentences.ACCESS_CODE_WRONG if typed.strip() else sentences.ACCESS_CODE_MISSING), visit.language
        case "recovery-code":
            return sentences.RECOVERY_CODE_WRONG, visit.language
    if read_code(typed[:64]) is None:
        return sentences.CODE_SHAPE, visit.language
    asked = await visit.site.codes.sent(await _door(visit, place), visit.browser, place.channels)
    return visit.site.pages.say(sentences.TEXT_CODE_WRONG, visit.language, reference=asked.reference), visit.language
