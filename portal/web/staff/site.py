"""What the console's routes are given, and what they know of one request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from portal.audit.export import Export
from portal.audit.reading import Reading
from portal.clock import Source
from portal.console import View, view
from portal.console.messages import Messages
from portal.db.orgs import Organisation
from portal.db.staff import StaffSession
from portal.identity import IdentityProvider
from portal.lifecycle.certify import Certificates
from portal.lifecycle.dispose import Disposition
from portal.lifecycle.end import Lifecycle
from portal.lifecycle.hold import Holds
from portal.lifecycle.misdirected import Misdirected
from portal.lifecycle.reclass import Reclass
from portal.mime import Renderer
from portal.model.agents import device
from portal.model.errors import SignInNeeded
from portal.model.events import By
from portal.model.links import TOKEN_BYTES, link_token
from portal.model.staff import MATRIX, Person, Role, Verb
from portal.notify.resend import Resend
from portal.orgs.classes import Classes, Rules
from portal.orgs.fallback import Fallback
from portal.orgs.routes import Routes
from portal.orgs.setup import Setup
from portal.signin import Client
from portal.signin.access import AccessCodes
from portal.signin.desk import PersonDesk
from portal.signin.staff import person
from portal.signin.staff.codes import StaffCodes
from portal.signin.staff.passkeys import StaffPasskeys
from portal.signin.staff.people import StaffPeople
from portal.signin.staff.provider import ProviderSignIn
from portal.signin.staff.sessions import StaffSessions
from portal.signin.throttle import Throttle
from portal.web.csrf import Csrf
from portal.web.templating import Pages

SESSION_COOKIE = "__Host-staff"
BROWSER_COOKIE = "__Host-staff-browser"
PROVIDER_COOKIE = "__Host-staff-provider"
_MENU = (
    ("/staff/messages", "Messages", Verb.SEE),
    ("/staff/requests", "Asked again", Verb.REQUESTS),
    ("/staff/unread", "Ended unread", Verb.UNREAD),
    ("/staff/people", "Recipients", Verb.PEOPLE),
    ("/staff/holds", "Holds", Verb.SEE_HOLDS),
    ("/staff/disposition", "Disposition", Verb.CERTIFICATES),
    ("/staff/fallback", "Fallback", Verb.FALLBACK),
    ("/staff/classes", "Classes", Verb.CLASSES),
    ("/staff/look", "Look", Verb.LOOK),
    ("/staff/people-of-staff", "Staff", Verb.STAFF),
    ("/staff/record", "Record", Verb.RECORD),
)
ROLE_NAMES = {
    Role.SENDER: "Sender",
    Role.HELP_DESK: "Help desk",
    Role.ADMIN: "Admin",
    Role.AUDITOR: "Auditor",
}


@dataclass(frozen=True)
class StaffSite:
    """The console: chapters by name, and how pages are made. What acts in somebody's name is made with her name."""

    pages: Pages
    sessions: StaffSessions
    passkeys: StaffPasskeys
    codes: StaffCodes
    people: StaffPeople
    provider: IdentityProvider | None
    provider_sign_in: ProviderSignIn
    throttle: Throttle
    messages: Messages
    lifecycle: Lifecycle
    resend: Resend
    access_codes: AccessCodes
    reclass: Reclass
    misdirected: Misdirected
    holds: Holds
    disposition: Disposition
    certificates: Certificates
    person_desk: PersonDesk
    rules: Rules
    fallback: Callable[[By], Fallback]
    routes: Routes
    probing: bool
    classes: Callable[[By], Classes]
    setup: Callable[[By], Setup]
    export: Callable[[By], Export]
    record: Reading
    renderer: Renderer
    csrf: Csrf
    source: Source
    smtp_host: str
    smtp_port: str
    return_domain: str
    wake: Callable[[], None]


class StaffVisit:
    """One request: who, and the way to answer her."""

    def __init__(self, site: StaffSite, request: Request) -> None:
        self.site, self.request = site, request
        origin = request.client.host[:64] if request.client else ""
        self.client = Client(origin, device(request.headers.get("user-agent", "")))
        self.session: StaffSession | None = None
        self._browser = request.cookies.get(BROWSER_COOKIE)
        self._new_browser = False

    async def signed_in(self) -> StaffSession:
        """Raises SignInNeeded."""
        if self.session is None:
            self.session = await self.site.sessions.current(self.request.cookies.get(SESSION_COOKIE))
        return self.session

    async def perhaps_signed_in(self) -> StaffSession | None:
        try:
            return await self.signed_in()
        except SignInNeeded:
            return None

    async def person(self) -> Person:
        """Raises SignInNeeded."""
        return person(await self.signed_in(), self.client)

    async def view(self, verb: Verb) -> View:
        """How far she sees for this. Raises SignInNeeded and NotFound."""
        return view(await self.person(), verb)

    async def organisation(self) -> Organisation:
        session, who = await self.signed_in(), await self.person()
        return await self.site.setup(who.by).organisation(session.org_slug)

    @property
    def browser(self) -> str:
        """The cookie that ties codes, ceremonies and forms to this browser."""
        if not self._browser or len(self._browser) != len(link_token(bytes(TOKEN_BYTES))):
            self._browser, self._new_browser = link_token(self.site.source.random(TOKEN_BYTES)), True
        return self._browser

    @property
    def csrf(self) -> str:
        return self.site.csrf.token(self.browser)

    def check(self, token: str) -> None:
        """Raises RequestForged unless the form was ours."""
        self.site.csrf.check(token, self.browser)

    def page(self, template: str, *, status: int = 200, **context: Any) -> Response:
        """A page from templates/staff/."""
        role = self.session.role if self.session else None
        reach: Mapping[Verb, object] = MATRIX[role] if role else {}
        shared = {
            "dir": "ltr",
            "org_name": self.session.org_name if self.session else "",
            "role": ROLE_NAMES[role] if role else "",
            "role_key": role.value if role else "",
            "signed_in": self.session is not None,
            "menu": [(href, words) for href, words, verb in _MENU if verb in reach],
            "may": {verb.value for verb in reach},
            "here": self.request.url.path,
            "csrf": self.csrf,
            "nonce": self.request.scope["nonce"],
            "error": None,
        }
        html = self.site.pages.render(f"staff/{template}.html", "en", {**shared, **context})
        return self.settled(HTMLResponse(html, status))

    def go(self, path: str) -> Response:
        """After a change: the page to look at next (303, so that loading it again repeats nothing)."""
        return self.settled(RedirectResponse(path, 303))

    def settled(self, response: Response) -> Response:
        """Sets what the browser is to keep."""
        if self._new_browser:
            self.keep(response, BROWSER_COOKIE, self.browser)
        return response

    def begun(self, response: Response, token: str) -> Response:
        """Sets the cookie of a session that began or went on."""
        self.keep(response, SESSION_COOKIE, token)
        return response

    @staticmethod
    def keep(response: Response, name: str, value: str, max_age: int | None = None) -> None:
        response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax")
