"""Routes before anybody has signed in: passkey, a sender's emailed code, the identity provider, an invitation; and the way out."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, RedirectResponse, Response

from portal.model.errors import (
    BodyTooLarge,
    CodeRefused,
    IdentityRefused,
    InputRefused,
    NotFound,
    PasskeyRefused,
    ProofNeeded,
    SignInNeeded,
    TooManyTries,
)
from portal.model.links import read_code
from portal.model.parties import address
from portal.model.staff import Role
from portal.signin.staff.provider import KEPT
from portal.web.forms import read_fields
from portal.web.staff.site import PROVIDER_COOKIE, SESSION_COOKIE, StaffVisit

_MOST_BYTES = 32 * 1024
_HOME = {Role.AUDITOR: "/staff/record"}


def wrong(field: str, text: str) -> dict[str, str]:
    """An error at a field, for a page."""
    return {"field": field, "text": text}


def ours(to: str) -> str:
    """Where to go on: a page of the console and nothing else."""
    plain = to.isascii() and to.isprintable() and "\\" not in to and "//" not in to
    return to if plain and (to == "/staff" or to.startswith("/staff/")) and len(to) < 4000 else "/staff"


async def form(visit: StaffVisit) -> dict[str, str]:
    return dict(await form_pairs(visit))


async def form_pairs(visit: StaffVisit, most: int = 100) -> list[tuple[str, str]]:
    """The fields of a form of ours, in their order. Raises RequestForged, and InputRefused for what no page sends."""
    pairs = await read_fields(visit.request, most)
    visit.check(dict(pairs).get("csrf", ""))
    if any("\0" in value for _, value in pairs):  # PostgreSQL takes no NUL in a text
        raise InputRefused("The form could not be read. Load the page again and repeat what you did.")
    return pairs


async def home(visit: StaffVisit) -> Response:
    session = await visit.perhaps_signed_in()
    return visit.go(_HOME.get(session.role, "/staff/messages") if session else "/staff/sign-in")


async def front(visit: StaffVisit) -> Response:
    return _front(visit, to=ours(visit.request.query_params.get("to", "")), over="over" in visit.request.query_params)


def _front(
    visit: StaffVisit, *, to: str, over: bool = False, typed: str = "", error: dict[str, str] | None = None
) -> Response:
    return visit.page(
        "sign_in",
        status=422 if error else 200,
        to=to,
        over=over,
        typed=typed,
        provider=visit.site.provider is not None,
        error=error,
    )


async def send_code(visit: StaffVisit) -> Response:
    fields = await form(visit)
    typed, to = fields.get("address", "")[:320], ours(fields.get("to", ""))
    try:
        who = address(typed)
    except ValueError:
        return _front(visit, to=to, typed=typed, error=wrong("address", "Type your whole email address."))
    await visit.site.throttle.staff_codes(visit.client.origin)
    reference = await visit.site.codes.send(who, visit.browser, visit.client)
    return visit.page("code", reference=reference, to=to, action="/staff/sign-in/code/enter", again="/staff/sign-in")


async def enter_code(visit: StaffVisit) -> Response:
    fields = await form(visit)
    typed, to, reference = fields.get("code", "")[:64], ours(fields.get("to", "")), fields.get("reference", "")[:8]
    await visit.site.throttle.staff_tries(visit.client.origin)
    try:
        token = await visit.site.codes.sign_in(typed, visit.browser, visit.client)
    except CodeRefused:
        return visit.page(
            "code",
            status=422,
            reference=reference,
            to=to,
            action="/staff/sign-in/code/enter",
            again="/staff/sign-in",
            error=wrong("code", code_words(typed, reference)),
        )
    return visit.begun(visit.go(to), token)


def code_words(typed: str, reference: str) -> str:
    if read_code(typed) is None:
        return "A code has 8 digits."
    return f"That code does not match. Use the newest one, from the email with the reference {reference}, or have another one sent."


# -- passkeys: JSON in and out, as the passkey module speaks


async def read_json(visit: StaffVisit) -> dict[str, Any]:
    visit.check(visit.request.headers.get("x-csrf-token", ""))
    body = b""
    async for piece in visit.request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise BodyTooLarge("That was too much at once.")
    try:
        said = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise InputRefused("This is no answer of a passkey.")
    return said


def answered(handler: Callable[[StaffVisit], Awaitable[Response]]) -> Callable[[StaffVisit], Awaitable[Response]]:
    """A handler whose refusals are JSON."""

    async def route(visit: StaffVisit) -> Response:
        try:
            return await handler(visit)
        except SignInNeeded:
            return visit.settled(JSONResponse({"to": "/staff/sign-in"}, 401))
        except ProofNeeded:
            return visit.settled(JSONResponse({"to": "/staff/confirm?to=/staff/account"}, 403))
        except NotFound:
            return visit.settled(
                JSONResponse({"say": "This link was used, or is older than a day. Ask for a new one."}, 404)
            )
        except TooManyTries:
            return visit.settled(JSONResponse({"say": "Too often. Wait some minutes, then try again."}, 429))
        except PasskeyRefused as error:
            return visit.settled(JSONResponse({"say": _passkey_words(error)}, 422))
        except InputRefused as error:
            return visit.settled(JSONResponse({"say": error.say}, 422))

    return route


def _passkey_words(error: PasskeyRefused) -> str:
    if error.unknown:
        return "Nobody on the staff has this passkey. Use another one, or ask an admin for a new invitation."
    if "one device" in str(error):
        return "Your organisation takes passkeys that stay on one device only, such as a security key."
    if "here" in str(error):
        return "This passkey is here already."
    return "This passkey could not be checked. Try again."


@answered
async def options(visit: StaffVisit) -> Response:
    """For signing in, or with `for=step-up` for showing once more that it is her."""
    await read_json(visit)
    more = visit.request.query_params.get("for") == "step-up"
    session = await visit.signed_in() if more else None
    await visit.site.throttle.ceremonies(visit.client.origin)
    return visit.settled(JSONResponse(await visit.site.passkeys.begin(visit.browser, session)))


@answered
async def passkey(visit: StaffVisit) -> Response:
    said = await read_json(visit)
    await visit.site.throttle.answers(visit.client.origin)
    token = await visit.site.passkeys.sign_in(visit.browser, said.get("credential"), visit.client)
    return visit.begun(visit.settled(JSONResponse({"to": ours(str(said.get("door", "")))})), token)


# -- the organisation's identity provider


async def to_provider(visit: StaffVisit) -> Response:
    """What the provider's answer is held against stays in this browser, sealed."""
    provider = visit.site.provider
    if provider is None:
        raise NotFound("no identity provider")
    await visit.site.throttle.ceremonies(visit.client.origin)
    asked = await provider.begin()
    kept = await visit.site.provider_sign_in.keep(asked, ours(visit.request.query_params.get("to", "")))
    response = visit.settled(RedirectResponse(asked.url, 303))
    visit.keep(response, PROVIDER_COOKIE, kept, int(KEPT.total_seconds()))
    return response


async def from_provider(visit: StaffVisit) -> Response:
    provider, given = visit.site.provider, visit.request.query_params
    if provider is None:
        raise NotFound("no identity provider")
    await visit.site.throttle.staff_tries(visit.client.origin)
    sign_in, code = visit.site.provider_sign_in, given.get("code", "")
    try:
        asked, to = await sign_in.kept(visit.request.cookies.get(PROVIDER_COOKIE, ""), given.get("state", ""))
        identity = await provider.finish(asked, code)
        token = await sign_in.sign_in(identity, visit.client)
    except IdentityRefused as error:
        await sign_in.refused(str(error), visit.client)
        say = "Your organisation's sign-in did not let you in here. Try again, or ask an admin which role you should have."
        return _front(visit, to="/staff", error=wrong("provider", say))
    response = visit.begun(visit.go(ours(to)), token)
    visit.keep(response, PROVIDER_COOKIE, "", 0)
    return response


# -- invitations


async def invited(visit: StaffVisit) -> Response:
    """Following the link shows a page and changes nothing."""
    token = visit.request.path_params["token"]
    _, member = await visit.site.people.invited(token)
    return visit.page(
        "invite", token=token, address=await visit.site.people.address(member), invited_role=member.role.value
    )


@answered
async def invited_options(visit: StaffVisit) -> Response:
    await read_json(visit)
    token = visit.request.path_params["token"]
    invite, member = await visit.site.people.invited(token)
    return visit.settled(JSONResponse(await visit.site.passkeys.begin_invited(invite, member, token)))


@answered
async def invited_add(visit: StaffVisit) -> Response:
    said, token = await read_json(visit), visit.request.path_params["token"]
    invite, member = await visit.site.people.invited(token)
    name = str(said.get("name", ""))[:60]
    cookie = await visit.site.passkeys.add_invited(invite, member, token, said.get("credential"), name, visit.client)
    return visit.begun(visit.settled(JSONResponse({"to": "/staff"})), cookie)


async def sign_out(visit: StaffVisit) -> Response:
    await form(visit)
    session = await visit.perhaps_signed_in()
    if session:
        await visit.site.sessions.end(session, visit.client)
        visit.session = None
    response = visit.page("signed_out")
    response.delete_cookie(SESSION_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    response.headers["clear-site-data"] = '"cache", "storage"'
    return response
