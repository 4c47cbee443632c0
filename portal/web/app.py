"""The sites: the recipients' routes in one list (the console's stand in portal/web/staff/app.py), and what happens when one fails."""

from collections.abc import Awaitable, Callable

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from portal import paths
from portal.model.errors import NotFound, PortalError
from portal.web import account, look, passkeys, recipient, replies, signin, stepup
from portal.web.errors import error_page, status_of
from portal.web.headers import SecurityHeaders
from portal.web.site import Site, Visit
from portal.web.staff import app as staff
from portal.web.staff.site import StaffSite, StaffVisit
from portal.web.static import Static

Handler = Callable[[Visit], Awaitable[Response]]
Ready = Callable[[], Awaitable[list[str]]]
"""What is not ready, in a word each; nothing when all is."""

_ROUTES: list[tuple[str, str, Handler]] = [
    # The router asks them in this order: reading comes first.
    ("GET", "/inbox", recipient.inbox),
    ("GET", "/messages/{delivery}", recipient.message),
    ("GET", "/messages/{delivery}/body", recipient.body),
    ("GET", "/messages/{delivery}/print", recipient.printed),
    ("GET", "/messages/{delivery}/message.pdf", recipient.exported),
    ("GET", "/messages/{delivery}/original.eml", recipient.original),
    ("GET", "/messages/{delivery}/parts/{part}", recipient.attachment),
    ("GET", "/messages/{delivery}/parts/{part}/view", recipient.attachment_view),
    ("POST", "/inbox/search", recipient.search),
    ("GET", "/", signin.front),
    ("POST", "/", signin.find),
    ("GET", "/m/{token}", signin.follow),
    ("GET", "/sign-in/{door}", signin.ask_code),
    ("POST", "/sign-in/{door}", signin.enter_code),
    ("POST", "/sign-in/{door}/send", signin.send),
    ("GET", "/sign-in/{door}/help", signin.code_help),
    ("POST", "/sign-out", signin.sign_out),
    ("GET", "/help", signin.help_page),
    ("GET", "/step-up/{delivery}", stepup.page),
    ("POST", "/step-up/{delivery}/send/{channel}", stepup.send),
    ("POST", "/step-up/{delivery}/{method}", stepup.prove),
    ("GET", "/confirm", stepup.page),
    ("POST", "/confirm/send/{channel}", stepup.send),
    ("POST", "/confirm/{method}", stepup.prove),
    ("POST", "/passkeys/options", passkeys.options),
    ("POST", "/passkeys/sign-in", passkeys.sign_in),
    ("POST", "/passkeys/step-up", passkeys.step_up),
    ("POST", "/passkeys/add/options", passkeys.adding),
    ("POST", "/passkeys/add", passkeys.add),
    ("POST", "/session/stay", passkeys.stay),
    ("GET", "/.well-known/webauthn", passkeys.related_origins),
    ("GET", "/account", account.account),
    ("GET", "/account/passkey", account.passkey),
    ("POST", "/account/passkeys/{passkey}/name", account.rename),
    ("POST", "/account/passkeys/{passkey}/remove", account.remove),
    ("POST", "/account/app/begin", account.begin_app),
    ("POST", "/account/app/confirm", account.confirm_app),
    ("POST", "/account/app/remove", account.remove_app),
    ("POST", "/account/recovery-codes", account.recovery_codes),
    ("POST", "/account/sessions/end-others", account.end_others),
    ("POST", "/account/sessions/{session}/end", account.end_session),
    ("GET", "/account/address", account.ask_address),
    ("POST", "/account/address", account.send_address),
    ("POST", "/account/address/{change}", account.change_address),
    ("POST", "/account/shared", account.share),
    ("GET", "/who", account.who),
    ("POST", "/who", account.say_who),
    ("POST", "/offer/not-now", account.not_now),
    ("GET", "/look/{look}.css", look.stylesheet),
    ("GET", "/look/{look}.png", look.logo),
    ("GET", "/recovery/{token}", account.recovery),
    ("POST", "/recovery/{token}", account.stop_recovery),
    ("POST", "/messages/{delivery}/ask", recipient.ask),
    ("POST", "/messages/{delivery}/receipt", recipient.receipt),
    ("GET", "/messages/{delivery}/reply", replies.write),
    ("POST", "/messages/{delivery}/reply", replies.submit),
    ("POST", "/messages/{delivery}/reply/resume", replies.resume),
    ("GET", "/messages/{delivery}/reply/{reply}", replies.go_on),
    ("POST", "/messages/{delivery}/reply/{reply}", replies.autosave),
    ("POST", "/messages/{delivery}/reply/{reply}/discard", replies.discard),
    ("PUT", "/messages/{delivery}/reply/{reply}/files", replies.upload),
    ("HEAD", "/messages/{delivery}/reply/{reply}/files/{file}", replies.upload_stands),
    ("PATCH", "/messages/{delivery}/reply/{reply}/files/{file}", replies.upload_more),
    ("DELETE", "/messages/{delivery}/reply/{reply}/files/{file}", replies.remove),
    ("POST", "/messages/{delivery}/reply/{reply}/files/{file}", replies.remove_by_form),
    ("GET", "/messages/{delivery}/replies/{reply}", replies.receipt),
    ("GET", "/messages/{delivery}/replies/{reply}/files/{file}", recipient.reply_file),
]


def build(site: Site | None, ready: Ready, console: StaffSite | None = None) -> ASGIApp:
    """The application: the recipients' site, the staff console, or both on one host.

    `ready` answers /readyz. The headers stand outermost: no answer leaves without them.
    """

    async def readyz(request: Request) -> Response:
        wrong = await ready()
        return PlainTextResponse("\n".join(wrong) or "ready", 503 if wrong else 200)

    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
        Route("/robots.txt", _robots),
        Mount("/static", Static(paths.static())),
        *(staff.routes(console) if console else ()),
        *(Route(path, _endpoint(site, handler), methods=[method]) for method, path, handler in _ROUTES if site),
    ]

    async def not_found(request: Request, error: Exception) -> Response:
        if console and (site is None or request.url.path.startswith("/staff")):
            return staff.failed(StaffVisit(console, request), NotFound("no such page"))
        assert site is not None
        return error_page(Visit(site, request), NotFound("no such page"))

    handlers = {404: not_found, 405: not_found}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False  # such a redirect would be built from the request's Host
    return SecurityHeaders(app)


def _endpoint(site: Site | None, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    assert site is not None

    async def endpoint(request: Request) -> Response:
        visit = Visit(site, request)
        try:
            site.csrf.check_site(request)
            return await handler(visit)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            if status_of(error) >= 500:
                said = str(error) if isinstance(error, PortalError) else None
                log = structlog.get_logger("web")
                log.error("route failed", route=_route(request), error=type(error).__name__, said=said, exc_info=error)
            return error_page(visit, error)

    return endpoint


def _route(request: Request) -> str:
    """The route's pattern: addresses carry tokens, and are never logged."""
    route = request.scope.get("route")
    return str(getattr(route, "path", "?"))


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("alive")


async def _robots(request: Request) -> Response:
    return PlainTextResponse((paths.static() / "robots.txt").read_text(encoding="utf-8"))
