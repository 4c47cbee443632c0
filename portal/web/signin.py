"""Routes from the notice to the session: the link, the reference, the code, and the way out.

Following a link (GET, HEAD) shows a page and changes nothing; asking for a code and typing it are forms.
"""

from dataclasses import dataclass
from datetime import datetime

from starlette.responses import Response

from portal.db.links import Mailed, Named
from portal.model.assurance import MAILBOX
from portal.model.errors import CodeRefused, TooManyTries
from portal.model.links import read_code
from portal.model.message import READABLE
from portal.model.parties import address
from portal.signin import Whose
from portal.signin.links import Door
from portal.web import sentences
from portal.web.errors import minutes
from portal.web.forms import read_form
from portal.web.site import SESSION_COOKIE, Organisation, Visit

_MACHINES = (
    "bot",
    "crawl",
    "spider",
    "scan",
    "preview",
    "fetch",
    "curl",
    "wget",
    "python",
    "java/",
    "okhttp",
    "headless",
    "go-http",
)


@dataclass(frozen=True)
class Wrong:
    """An error at a field."""

    field: str
    text: str


@dataclass(frozen=True)
class MailState:
    """How the mail with the code fares, for the page."""

    state: str
    at: datetime | None
    text: str
    minutes: int = 0
    """Until it is tried again."""


async def front(visit: Visit) -> Response:
    await visit.perhaps_signed_in()
    return visit.page("front", reference="", error=None)


async def find(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    typed = form.get("reference", "")
    door = await visit.site.links.find(typed, visit.origin)
    if door is None:
        sentence = sentences.REFERENCE_WRONG if typed.strip() else sentences.REFERENCE_MISSING
        wrong = Wrong("reference", visit.site.pages.say(sentence, visit.language))
        return visit.page("front", status=422, reference=typed[:40], error=wrong)
    await _send(visit, door)
    return visit.go(f"/sign-in/{door.text}")


async def follow(visit: Visit) -> Response:
    door = await visit.site.links.follow(visit.request.path_params["token"], visit.origin, machine=_is_machine(visit))
    named = door.named
    assert named is not None
    readable = named.state in READABLE and visit.site.source.now() < named.expires_at
    state = "readable" if readable else "expired" if named.state in READABLE else named.state.value
    return visit.page(
        "link",
        org=_organisation(named),
        door=door.text,
        state=state,
        sent_to=await hidden(visit, named),
        sent_at=named.accepted_at,
        expires_at=named.expires_at,
    )


async def send(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    door = await visit.site.links.enter(visit.request.path_params["door"])
    await _send(visit, door)
    return visit.go(f"/sign-in/{door.text}")


async def _send(visit: Visit, door: Door) -> None:
    await visit.site.codes.send(door, visit.browser, visit.origin, visit.language)


async def ask_code(visit: Visit) -> Response:
    door = await visit.site.links.enter(visit.request.path_params["door"])
    return await _code_page(visit, door)


async def _code_page(visit: Visit, door: Door, wrong: Wrong | None = None, typed: str = "") -> Response:
    asked = await visit.site.codes.sent(door, visit.browser)
    shown = None if door.by_reference else door.named
    return visit.page(
        "code",
        status=422 if wrong else 200,
        org=_organisation(shown) if shown else None,
        door=door.text,
        sent_to=await hidden(visit, shown) if shown else "",
        code_reference=asked.reference,
        mail=mail_state(None if door.by_reference else asked.mail, visit.site.source.now()),
        error=wrong,
        typed=typed,
    )


async def enter_code(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    door = await visit.site.links.enter(visit.request.path_params["door"])
    typed = form.get("code", "")[:64]
    say = visit.site.pages.say
    if read_code(typed) is None:
        sentence = sentences.CODE_SHAPE if typed.strip() else sentences.CODE_MISSING
        return await _code_page(visit, door, Wrong("code", say(sentence, visit.language)), typed)
    before = await visit.perhaps_signed_in()
    visit.session = None
    try:
        code = await visit.site.codes.check(door, visit.browser, typed, visit.origin)
        assert door.named is not None
        whose = Whose(door.named.org_id, door.named.recipient_id, door.named.message_id, door.named.delivery_id)
        token = await visit.site.sessions.start(whose, MAILBOX, visit.client, visit.site.codes.use_up(code))
    except CodeRefused:
        asked = await visit.site.codes.sent(door, visit.browser)
        text = say(sentences.CODE_WRONG, visit.language, reference=asked.reference)
        return await _code_page(visit, door, Wrong("code", text), typed)
    except TooManyTries as error:
        closed = error.wait is None
        text = say(sentences.SIGN_IN_CLOSED, visit.language) if closed else ""
        text = text or say(sentences.TOO_MANY_TRIES, visit.language, minutes=minutes(error.wait))
        response = await _code_page(visit, door, Wrong("code", text), "")
        response.status_code = 429
        return response
    if before:  # ASVS 7.2.4: a new sign-in ends the browser's last session
        await visit.site.sessions.end(before, visit.client)
    return visit.raised(visit.go(f"/messages/{door.named.delivery_id}"), token)


async def code_help(visit: Visit) -> Response:
    door = await visit.site.links.enter(visit.request.path_params["door"])
    asked = await visit.site.codes.sent(door, visit.browser)
    wait = await visit.site.codes.wait(door)
    shown = None if door.by_reference else door.named
    return visit.page(
        "code_help",
        org=_organisation(shown) if shown else None,
        door=door.text,
        sent_to=await hidden(visit, shown) if shown else "",
        code_reference=asked.reference,
        mail=mail_state(None if door.by_reference else asked.mail, visit.site.source.now()),
        wait_minutes=minutes(wait) if wait else None,
    )


async def sign_out(visit: Visit) -> Response:
    form = await read_form(visit.request)
    visit.check(form.get("csrf", ""))
    session = await visit.perhaps_signed_in()
    org = visit.organisation()
    if session:
        await visit.site.sessions.end(session, visit.client)
        visit.session = None
    response = visit.page("signed_out", org=org, here="/")
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response


async def help_page(visit: Visit) -> Response:
    await visit.perhaps_signed_in()
    return visit.page("help")


def mail_state(mail: Mailed | None, now: datetime) -> MailState:
    if mail is None or (mail.state == "queued" and mail.attempts <= 1):
        return MailState("queued", None, "")
    if mail.state == "queued":
        return MailState("delayed", None, mail.answer or "", minutes(mail.due_at - now))
    if mail.state == "done":
        return MailState("accepted", mail.settled_at, mail.answer or "")
    return MailState("failed", mail.settled_at, mail.answer or "")


def _organisation(named: Named) -> Organisation:
    return Organisation(named.org_name, named.org_address, named.org_phone, named.org_look or "", named.org_host or "")


async def hidden(visit: Visit, named: Named) -> str:
    return address(await visit.site.codes.address(named)).partly_hidden()


def _is_machine(visit: Visit) -> bool:
    headers = visit.request.headers
    agent = headers.get("user-agent", "").lower()
    prefetch = "prefetch" in headers.get("sec-purpose", "") + headers.get("purpose", "")
    return visit.request.method == "HEAD" or prefetch or not agent or any(word in agent for word in _MACHINES)
