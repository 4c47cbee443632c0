"""The console's routes in one list, each with the verb it is for, and what happens when one fails.

Before a handler runs: the site of the request, the session, the verb against the table, and for dangerous changes a fresh sign-in.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from portal.model.errors import (
    IdentityAway,
    InputRefused,
    KeysAway,
    NotFound,
    PortalError,
    ProofNeeded,
    RequestForged,
    SignInNeeded,
    StorageAway,
    StorageFull,
    TooManyTries,
)
from portal.model.events import StaffDenied
from portal.model.staff import DANGEROUS, Scope, Verb
from portal.web.csrf import SAFE
from portal.web.errors import status_of
from portal.web.staff import account, acts, ends, messages, people, record, settings, signin
from portal.web.staff.site import SESSION_COOKIE, StaffSite, StaffVisit

Handler = Callable[[StaffVisit], Awaitable[Response]]
ROUTES: list[tuple[str, str, Verb | None, Handler]] = [
    # Nobody has signed in yet.
    ("GET", "/staff", None, signin.home),
    ("GET", "/staff/sign-in", None, signin.front),
    ("POST", "/staff/sign-in/code", None, signin.send_code),
    ("POST", "/staff/sign-in/code/enter", None, signin.enter_code),
    ("POST", "/staff/passkeys/options", None, signin.options),
    ("POST", "/staff/passkeys/sign-in", None, signin.passkey),
    ("GET", "/staff/provider", None, signin.to_provider),
    ("GET", "/staff/oidc/back", None, signin.from_provider),
    ("GET", "/staff/invite/{token}", None, signin.invited),
    ("POST", "/staff/invite/{token}/passkeys/add/options", None, signin.invited_options),
    ("POST", "/staff/invite/{token}/passkeys/add", None, signin.invited_add),
    ("POST", "/staff/sign-out", None, signin.sign_out),
    # One's own.
    ("GET", "/staff/confirm", Verb.ACCOUNT, account.confirm),
    ("POST", "/staff/confirm/send", Verb.ACCOUNT, account.send_code),
    ("POST", "/staff/confirm/code", Verb.ACCOUNT, account.enter_code),
    ("POST", "/staff/passkeys/step-up", Verb.ACCOUNT, account.prove),
    ("GET", "/staff/account", Verb.ACCOUNT, account.account),
    ("POST", "/staff/passkeys/add/options", Verb.ACCOUNT, account.adding),
    ("POST", "/staff/passkeys/add", Verb.ACCOUNT, account.add),
    ("POST", "/staff/account/passkeys/{passkey}/remove", Verb.ACCOUNT, account.remove),
    ("POST", "/staff/account/sessions/end-others", Verb.ACCOUNT, account.end_others),
    ("POST", "/staff/account/news", Verb.ACCOUNT, account.news),
    # Messages.
    ("GET", "/staff/messages", Verb.SEE, messages.listed),
    ("POST", "/staff/messages/find", Verb.SEE, messages.find),
    ("GET", "/staff/messages/{message}", Verb.SEE, messages.one),
    ("GET", "/staff/messages/{message}/evidence", Verb.MISDIRECTED, messages.evidence),
    ("GET", "/staff/requests", Verb.REQUESTS, messages.requests),
    ("GET", "/staff/unread", Verb.UNREAD, messages.unread),
    ("GET", "/staff/act/revoke", Verb.REVOKE, acts.ask("revoke")),
    ("POST", "/staff/act/revoke", Verb.REVOKE, acts.do("revoke")),
    ("GET", "/staff/act/restore", Verb.RESTORE, acts.ask("restore")),
    ("POST", "/staff/act/restore", Verb.RESTORE, acts.do("restore")),
    ("GET", "/staff/act/extend", Verb.EXTEND, acts.ask("extend")),
    ("POST", "/staff/act/extend", Verb.EXTEND, acts.do("extend")),
    ("GET", "/staff/act/expire", Verb.EXPIRE, acts.ask("expire")),
    ("POST", "/staff/act/expire", Verb.EXPIRE, acts.do("expire")),
    ("GET", "/staff/act/resend", Verb.RESEND, acts.ask("resend")),
    ("POST", "/staff/act/resend", Verb.RESEND, acts.do("resend")),
    ("GET", "/staff/act/access-code", Verb.ACCESS_CODE, acts.ask("access-code")),
    ("POST", "/staff/act/access-code", Verb.ACCESS_CODE, acts.do("access-code")),
    ("GET", "/staff/act/raise", Verb.RAISE, acts.ask("raise")),
    ("POST", "/staff/act/raise", Verb.RAISE, acts.do("raise")),
    ("GET", "/staff/act/misdirected", Verb.MISDIRECTED, acts.ask("misdirected")),
    ("POST", "/staff/act/misdirected", Verb.MISDIRECTED, acts.do("misdirected")),
    # Ends: holds and disposition.
    ("GET", "/staff/holds", Verb.SEE_HOLDS, ends.holds),
    ("GET", "/staff/holds/new", Verb.HOLD, ends.new_hold),
    ("POST", "/staff/holds", Verb.HOLD, ends.place),
    ("GET", "/staff/holds/{hold}", Verb.SEE_HOLDS, ends.hold),
    ("POST", "/staff/holds/{hold}/release", Verb.HOLD, ends.release),
    ("GET", "/staff/disposition", Verb.CERTIFICATES, ends.disposition),
    ("POST", "/staff/disposition/run", Verb.DISPOSE, ends.dispose),
    ("GET", "/staff/certificates/{certificate}", Verb.CERTIFICATES, ends.certificate),
    # Recipients.
    ("GET", "/staff/people", Verb.PEOPLE, people.search),
    ("POST", "/staff/people", Verb.PEOPLE, people.find),
    ("GET", "/staff/people/{recipient}", Verb.PEOPLE, people.person),
    ("POST", "/staff/people/{recipient}/sign-out", Verb.PEOPLE, people.end_sessions),
    ("POST", "/staff/people/{recipient}/recover", Verb.RECOVER, people.recover),
    ("POST", "/staff/people/{recipient}/stop-recovery", Verb.PEOPLE, people.stop_recovery),
    # Settings of the organisation.
    ("GET", "/staff/fallback", Verb.FALLBACK, settings.fallback),
    ("POST", "/staff/fallback/domains", Verb.FALLBACK, settings.claim),
    ("POST", "/staff/fallback/domains/{domain}/prove", Verb.FALLBACK, settings.prove),
    ("POST", "/staff/fallback/domains/{domain}/remove", Verb.FALLBACK, settings.remove_domain),
    ("POST", "/staff/fallback/relays", Verb.FALLBACK, settings.add_relay),
    ("GET", "/staff/fallback/relays/{relay}", Verb.FALLBACK, settings.relay),
    ("GET", "/staff/fallback/relays/{relay}/live", Verb.FALLBACK, settings.live),
    ("POST", "/staff/fallback/relays/{relay}/rotate", Verb.FALLBACK, settings.rotate),
    ("POST", "/staff/fallback/relays/{relay}/domains", Verb.FALLBACK, settings.bind),
    ("POST", "/staff/fallback/relays/{relay}/mode", Verb.FALLBACK, settings.set_mode),
    ("POST", "/staff/fallback/level", Verb.FALLBACK, settings.set_level),
    ("POST", "/staff/fallback/routes", Verb.FALLBACK, settings.set_route),
    ("POST", "/staff/fallback/routes/{route}/remove", Verb.FALLBACK, settings.remove_route),
    ("POST", "/staff/fallback/relays/{relay}/disable", Verb.FALLBACK, settings.disable_relay),
    (
        "POST",
        "/staff/fallback/relays/{relay}/credentials/{credential}/disable",
        Verb.FALLBACK,
        settings.disable_credential,
    ),
    ("GET", "/staff/classes", Verb.CLASSES, settings.classes),
    ("GET", "/staff/classes/{name}", Verb.CLASSES, settings.policy),
    ("POST", "/staff/classes/{name}", Verb.CLASSES, settings.set_policy),
    ("POST", "/staff/rules", Verb.CLASSES, settings.add_rule),
    ("POST", "/staff/rules/{rule}/remove", Verb.CLASSES, settings.remove_rule),
    ("GET", "/staff/look", Verb.LOOK, settings.look),
    ("GET", "/staff/look/logo.png", Verb.LOOK, settings.logo),
    ("POST", "/staff/look", Verb.LOOK, settings.set_look),
    ("POST", "/staff/look/logo", Verb.LOOK, settings.set_logo),
    # Staff.
    ("GET", "/staff/people-of-staff", Verb.STAFF, people.staff),
    ("POST", "/staff/people-of-staff", Verb.STAFF, people.invite),
    ("POST", "/staff/people-of-staff/{person}/role", Verb.STAFF, people.role),
    ("POST", "/staff/people-of-staff/{person}/disable", Verb.STAFF, people.disable),
    ("POST", "/staff/people-of-staff/{person}/sign-out", Verb.STAFF, people.sign_out),
    # The record.
    ("GET", "/staff/record", Verb.RECORD, record.listed),
    ("POST", "/staff/record/export", Verb.RECORD, record.export),
]
"""Method, path, verb (None before anybody has signed in), handler. tests/story/test_staff_matrix.py walks it with every role."""


def routes(site: StaffSite) -> list[BaseRoute]:
    return [Route(path, _endpoint(site, verb, handler), methods=[method]) for method, path, verb, handler in ROUTES]


def _endpoint(site: StaffSite, verb: Verb | None, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        visit = StaffVisit(site, request)
        try:
            site.csrf.check_site(request)
            if any(not str(value).isprintable() or len(str(value)) > 255 for value in request.path_params.values()):
                raise NotFound("no id of ours")
            if verb is not None:
                await _allowed(visit, verb)
            return await handler(visit)
        except ClientDisconnect:
            return Response(status_code=400)
        except NotFound as error:
            await _denied(visit, verb)
            return failed(visit, error)
        except Exception as error:
            if status_of(error) >= 500:
                log = structlog.get_logger("staff")
                said = str(error) if isinstance(error, PortalError) else None
                path = getattr(request.scope.get("route"), "path", "?")
                log.error("route failed", route=path, error=type(error).__name__, said=said, exc_info=error)
            return failed(visit, error)

    return endpoint


async def _allowed(visit: StaffVisit, verb: Verb) -> None:
    """Raises SignInNeeded, NotFound and ProofNeeded."""
    person = await visit.person()
    if person.reach(verb) is Scope.NONE:
        raise NotFound(f"{person.role} may not {verb}")
    if visit.request.method not in SAFE and verb in DANGEROUS and not person.is_fresh(visit.site.source.now()):
        raise ProofNeeded(f"{verb} wants a fresh sign-in")


async def _denied(visit: StaffVisit, verb: Verb | None) -> None:
    """What was asked for and not given is on record: by whom, and for what."""
    session = await visit.perhaps_signed_in()
    if session is None or verb is None:
        return
    person = await visit.person()
    facts = person.by.facts(visit.site.source.now(), person.org_id)
    await visit.site.record.note(StaffDenied(**facts, verb=verb.value))


def failed(visit: StaffVisit, error: Exception) -> Response:
    """The page of an error: what happened, and the way on."""
    status = status_of(error)
    page = visit.request.method == "GET"
    if isinstance(error, SignInNeeded) and (page or visit.request.method == "POST"):
        there = visit.request.url.path + (f"?{visit.request.url.query}" if visit.request.url.query else "")
        over = "&over=1" if SESSION_COOKIE in visit.request.cookies else ""
        return visit.go(f"/staff/sign-in?to={quote(there if page else '/staff')}{over}")
    if isinstance(error, ProofNeeded):
        return visit.go(f"/staff/confirm?to={quote(_back(visit))}")
    heading, say = _words(error)
    response = visit.page("error", status=status, heading=heading, say=say, back=_back(visit))
    if status == 503:
        response.headers["retry-after"] = "60"
    return response


def _back(visit: StaffVisit) -> str:
    """The page to go on from: the one of a form that was refused is behind its own address."""
    path = visit.request.url.path
    if visit.request.method == "GET":
        return "/staff"
    return next((start for start in _PAGES if path.startswith(start)), "/staff")


_PAGES = (
    "/staff/messages",
    "/staff/holds",
    "/staff/disposition",
    "/staff/people-of-staff",
    "/staff/people",
    "/staff/fallback",
    "/staff/classes",
    "/staff/look",
    "/staff/account",
)


def _words(error: Exception) -> tuple[str, str]:
    match error:
        case NotFound():
            return "There is no such page", "The address may be cut short, or what it named is not there for you."
        case RequestForged():
            return (
                "Load the page again",
                "It was open too long, or the request came from another place. Nothing was changed.",
            )
        case TooManyTries():
            return "Too often", "Wait some minutes, then try again. Nothing was changed."
        case InputRefused():
            return "That was not done", error.say
        case StorageFull() | StorageAway() | KeysAway() | IdentityAway():
            return "Something the portal needs does not answer", "Nothing was changed. Try again in a few minutes."
        case _:
            return (
                "Something went wrong on our side",
                "It is in the portal's log. Only what you saw confirmed was changed.",
            )
