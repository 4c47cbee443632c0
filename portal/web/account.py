"""Routes of a person's own ways in: passkeys, app, recovery codes, sessions, address, and who reads a shared mailbox."""

import hmac
import io

import segno
from markupsafe import Markup
from starlette.responses import Response

from portal.model.assurance import Method, may_change_ways
from portal.model.errors import CodeRefused, NotFound, ProofNeeded, TooManyTries, WayRefused
from portal.model.events import By, Who
from portal.model.ids import is_id
from portal.model.parties import address
from portal.signin.enrolled import Enrolled
from portal.web import sentences
from portal.web.errors import minutes
from portal.web.forms import read_form
from portal.web.passkeys import WORDS
from portal.web.signin import Wrong
from portal.web.site import OFFER_COOKIE, Visit

_DONE = ("passkey", "removed", "app", "app-removed", "codes", "address", "ended", "named", "shared")
_HALF_A_YEAR = 182 * 24 * 3600


async def _form(visit: Visit) -> dict[str, str]:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    return form


async def account(visit: Visit) -> Response:
    return await _account(visit, None)


async def _account(visit: Visit, error: Wrong | None, status: int = 200) -> Response:
    await visit.reader()  # at a shared mailbox who it is comes first
    session, site = await visit.signed_in(), visit.site
    has: Enrolled = await site.people.enrolled(session)
    fresh = may_change_ways(Method(session.method), has.methods, session.proved_at, site.source.now())
    done = visit.request.query_params.get("done", "")
    names = {one.id: one.name for one in await site.people.members(session)} if session.member_id else {}
    sessions = [{**vars(one), "current": one.ref == session.ref} for one in await site.sessions.listed(session)]
    return visit.page(
        "account",
        status=status,
        address=await site.people.address(session),
        passkeys=await site.passkeys.cards(session),
        app={"since": has.app.confirmed_at} if has.app else None,
        codes_left=has.codes_left,
        sessions=sessions,
        shared=session.shared,
        member=names.get(session.member_id, "") if session.member_id else "",
        may_change=fresh,
        signals=await site.passkeys.signals(session),
        done=done if done in _DONE else "",
        error=error,
        here="/account",
    )


def _refused(visit: Visit, error: WayRefused) -> Wrong:
    return Wrong(error.field or "main", visit.site.pages.say(WORDS[error.why], visit.language))


async def passkey(visit: Visit) -> Response:
    """The page to add one; to whom it is not open yet, first the page to show once more that it is her."""
    session = await visit.signed_in()
    has = await visit.site.people.enrolled(session)
    if not may_change_ways(Method(session.method), has.methods, session.proved_at, visit.site.source.now()):
        raise ProofNeeded("adding a passkey")
    asked = visit.request.query_params.get("for", "")
    back = asked if is_id(asked) else ""
    return visit.page(
        "passkey",
        name=visit.client.agent,
        for_delivery=back,
        not_now_href=f"/messages/{back}" if back else "/account",
        error=None,
    )


async def rename(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    wanted = visit.request.path_params["passkey"]
    try:
        await visit.site.passkeys.rename(session, wanted, form.get("name", ""), visit.client)
    except WayRefused as error:
        return await _account(visit, _refused(visit, error), 422)
    return visit.go("/account?done=named")


async def remove(visit: Visit) -> Response:
    await _form(visit)
    session, wanted = await visit.signed_in(), visit.request.path_params["passkey"]
    try:
        await visit.site.passkeys.remove(session, wanted, visit.client, visit.language)
    except WayRefused as error:
        return await _account(visit, _refused(visit, error), 409)
    return visit.go("/account?done=removed")


# -- the app, and codes on paper


async def begin_app(visit: Visit) -> Response:
    await _form(visit)
    session = await visit.signed_in()
    try:
        offer = await visit.site.apps.begin(session)
    except WayRefused as error:
        return await _account(visit, _refused(visit, error), 409)
    return _app_page(visit, offer.uri, offer.letters)


def _app_page(visit: Visit, uri: str, letters: str, wrong: Wrong | None = None, typed: str = "") -> Response:
    picture = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        picture, kind="svg", xmldecl=False, svgns=False, scale=5, border=4, dark="#000", light="#fff"
    )
    return visit.page(
        "app",
        status=422 if wrong else 200,
        qr=Markup(picture.getvalue().decode()),  # noqa: S704 - drawn by the library out of squares; no text is in it
        letters=letters,
        action="/account/app/confirm",
        error=wrong,
        typed=typed,
        here="/account",
    )


async def confirm_app(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    typed = form.get("code", "")[:64]
    try:
        await visit.site.apps.confirm(session, typed, visit.client, visit.language)
    except (CodeRefused, TooManyTries) as error:
        offer = await visit.site.apps.pending(session)
        if offer is None:
            return visit.go("/account")
        return _app_page(visit, offer.uri, offer.letters, Wrong("code", _why(visit, error, typed)), typed)
    return visit.go("/account?done=app")


def _why(visit: Visit, error: CodeRefused | TooManyTries, typed: str) -> str:
    say = visit.site.pages.say
    if isinstance(error, TooManyTries):
        closed = say(sentences.TRIES_CLOSED, visit.language)
        return closed if error.wait is None else say(sentences.TRIES_WAIT, visit.language, minutes=minutes(error.wait))
    six = sum(sign.isdigit() for sign in typed) == 6
    return say(sentences.APP_CODE_WRONG if six else sentences.APP_CODE_SHAPE, visit.language)


async def remove_app(visit: Visit) -> Response:
    await _form(visit)
    await visit.site.apps.remove(await visit.signed_in(), visit.client, visit.language)
    return visit.go("/account?done=app-removed")


async def recovery_codes(visit: Visit) -> Response:
    """Ten new codes, on this page and never again."""
    await _form(visit)
    codes = await visit.site.recovery.make(await visit.signed_in(), visit.client, visit.language)
    return visit.page("recovery_codes", codes=codes, made_at=visit.site.source.now(), here="/account")


# -- sessions


async def end_session(visit: Visit) -> Response:
    await _form(visit)
    session, ref = await visit.signed_in(), visit.request.path_params["session"]
    await visit.site.sessions.end_other(session, ref, visit.client)
    return visit.go("/account?done=ended" if ref != session.ref else "/")


async def end_others(visit: Visit) -> Response:
    await _form(visit)
    await visit.site.sessions.end_others(await visit.signed_in(), visit.client)
    return visit.go("/account?done=ended")


# -- address


async def ask_address(visit: Visit) -> Response:
    session = await visit.signed_in()
    has = await visit.site.people.enrolled(session)
    if not may_change_ways(Method(session.method), has.methods, session.proved_at, visit.site.source.now()):
        raise ProofNeeded("changing the address")
    return await _address_page(visit, "ask", None)


async def _address_page(
    visit: Visit, step: str, wrong: Wrong | None, typed: str = "", new_address: str = "", change_id: str = ""
) -> Response:
    now = await visit.site.people.address(await visit.signed_in())
    status = 422 if wrong else 200
    return visit.page(
        "address",
        status=status,
        address=now,
        step=step,
        new_address=new_address,
        change_id=change_id,
        error=wrong,
        typed=typed,
        here="/account",
    )


async def send_address(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    typed = form.get("address", "")[:400]
    try:
        change = await visit.site.people.ask_change(session, typed, visit.client, visit.language)
    except WayRefused as error:
        return await _address_page(visit, "ask", _refused(visit, error), typed)
    except TooManyTries as error:
        text = visit.site.pages.say(sentences.TOO_MANY_CODES, visit.language, minutes=minutes(error.wait))
        return await _address_page(visit, "ask", Wrong("address", text), typed)
    return await _address_page(visit, "code", None, new_address=address(typed).partly_hidden(), change_id=change)


async def change_address(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    change, typed = visit.request.path_params["change"], form.get("code", "")[:64]
    if not is_id(change):
        raise NotFound("not an id")
    try:
        await visit.site.people.change(session, change, typed, visit.client, visit.language)
    except CodeRefused:
        text = visit.site.pages.say(sentences.ADDRESS_CODE_WRONG, visit.language)
        return await _address_page(visit, "code", Wrong("code", text), typed, change_id=change)
    except WayRefused as error:
        return await _address_page(visit, "ask", _refused(visit, error))
    return visit.go("/account?done=address")


# -- several people at one mailbox


async def who(visit: Visit) -> Response:
    return await _who_page(visit, visit.request.query_params.get("to", ""), None)


async def _who_page(visit: Visit, to: str, wrong: Wrong | None) -> Response:
    members = await visit.site.people.members(await visit.signed_in())
    to = to if is_id(to) else ""
    return visit.page("who", status=422 if wrong else 200, members=members, to=to, error=wrong, typed="", here="/who")


async def say_who(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    to = form.get("to", "")
    try:
        await visit.site.people.name(session, form.get("member", ""), form.get("name", ""), visit.client)
    except WayRefused as error:
        return await _who_page(visit, to, _refused(visit, error))
    return visit.go(f"/messages/{to}" if is_id(to) else "/inbox")


async def share(visit: Visit) -> Response:
    form, session = await _form(visit), await visit.signed_in()
    await visit.site.people.share(session, form.get("shared") == "yes", visit.client)
    return visit.go("/account?done=shared")


# -- the passkey offer, and stopping a recovery


async def not_now(visit: Visit) -> Response:
    form = await _form(visit)
    to = form.get("delivery", "")
    response = visit.go(f"/messages/{to}" if is_id(to) else "/inbox")
    visit.keep(response, OFFER_COOKIE, "no", _HALF_A_YEAR)
    return response


async def recovery(visit: Visit) -> Response:
    """What a recovery under way is; looking stops nothing, mail scanners look too."""
    return await _recovery_page(visit)


async def _recovery_page(visit: Visit, wrong: Wrong | None = None) -> Response:
    found = await visit.site.desk.to_stop(visit.request.path_params["token"])
    state = "stopped" if found.stopped_at else "applied" if found.applied_at else "waiting"
    shown = {"begun_at": found.begun_at, "effective_at": found.effective_at, "state": state}
    action = f"/recovery/{visit.request.path_params['token']}"
    status = 422 if wrong else 200
    return visit.page("stop_recovery", status=status, recovery=shown, action=action, error=wrong, here=action)


async def stop_recovery(visit: Visit) -> Response:
    form, token = await _form(visit), visit.request.path_params["token"]
    found = await visit.site.desk.to_stop(token)
    typed = "".join(sign for sign in form.get("letters", "")[:20].upper() if sign.isalnum())
    if not hmac.compare_digest(typed.encode(), visit.site.desk.letters_of(token).encode()):
        return await _recovery_page(
            visit, Wrong("letters", visit.site.pages.say(sentences.LETTERS_WRONG, visit.language))
        )
    await visit.site.desk.stop(found, By(Who.STRANGER, origin=visit.origin))
    return await _recovery_page(visit)
