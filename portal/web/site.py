"""What the routes are given, and what they know of one request."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from portal.clock import Source
from portal.db.sessions import Session
from portal.lifecycle.ask import Asking
from portal.model.access import Reader
from portal.model.agents import device
from portal.model.errors import MemberNeeded, SignInNeeded
from portal.model.ids import is_id
from portal.model.links import TOKEN_BYTES, link_token
from portal.orgs.setup import Setup
from portal.reading.read import Reading
from portal.reading.receipt import Receipts
from portal.reading.search import Search
from portal.reply.compose import Compose
from portal.signin import Client, Whose
from portal.signin.codes import Codes
from portal.signin.links import Links
from portal.signin.passkeys import Passkeys
from portal.signin.people import People
from portal.signin.recovery import HelpDesk, RecoveryCodes
from portal.signin.sessions import IDLE, Sessions, reader
from portal.signin.stepup import StepUp
from portal.signin.throttle import Throttle
from portal.signin.totp import AppCodes
from portal.web.csrf import Csrf
from portal.web.languages import LANGUAGES, choose, direction
from portal.web.templating import Pages

SESSION_COOKIE = "__Host-session"
BROWSER_COOKIE = "__Host-browser"
LANGUAGE_COOKIE = "__Host-language"
THEME_COOKIE = "__Host-theme"
OFFER_COOKIE = "__Host-offer"
"""Set to "no" where somebody does not want to hear of passkeys (again)."""
WRITING_COOKIE = "__Host-writing"
"""The reply that somebody comes back to once she has proved more: its delivery and its draft."""
_WRITING_SECONDS = 900
_THEMES = ("light", "dark")
_YEAR = int(timedelta(days=365).total_seconds())


@dataclass(frozen=True)
class Site:
    """The recipient site: chapters by name, and how pages are made."""

    pages: Pages
    links: Links
    codes: Codes
    sessions: Sessions
    passkeys: Passkeys
    apps: AppCodes
    recovery: RecoveryCodes
    desk: HelpDesk
    people: People
    step_up: StepUp
    throttle: Throttle
    reading: Reading
    search: Search
    compose: Compose
    asking: Asking
    receipts: Receipts
    setup: Setup
    csrf: Csrf
    source: Source
    exports: bool = False
    """Whether messages can be taken as a PDF: the extra is installed."""
    place_header: str = ""
    """A header in which the proxy says where a client is; empty: nobody asks."""


@dataclass(frozen=True)
class Organisation:
    """What a page says of the organisation."""

    name: str
    address: str
    phone: str
    look: str = ""
    host: str = ""


class Visit:
    """One request: who, in which language, and the way to answer it."""

    def __init__(self, site: Site, request: Request) -> None:
        self.site, self.request = site, request
        self.origin = request.client.host[:64] if request.client else ""
        place = request.headers.get(site.place_header, "") if site.place_header else ""
        self.client = Client(
            self.origin,
            device(request.headers.get("user-agent", "")),
            "".join(sign for sign in place if sign.isprintable())[:80],
        )
        chosen = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        self.language = choose(request.headers.get("accept-language"), chosen)
        theme = request.query_params.get("theme") or request.cookies.get(THEME_COOKIE)
        self.theme = theme if theme in _THEMES else ""
        self.session: Session | None = None
        self._browser = request.cookies.get(BROWSER_COOKIE)
        self._new_browser = False

    async def signed_in(self) -> Session:
        """The session. Raises SignInNeeded."""
        if self.session is None:
            self.session = await self.site.sessions.current(self.token)
        return self.session

    async def perhaps_signed_in(self) -> Session | None:
        try:
            return await self.signed_in()
        except SignInNeeded:
            return None

    @property
    def token(self) -> str | None:
        """The session's cookie as it came."""
        return self.request.cookies.get(SESSION_COOKIE)

    async def reader(self) -> Reader:
        """Who asks to read. Raises SignInNeeded, and MemberNeeded at a shared mailbox until the person has said who she is."""
        session = await self.signed_in()
        if session.shared and session.member_id is None:
            raise MemberNeeded("who of several people is this?")
        return reader(session, self.origin)

    def whose(self, session: Session) -> Whose:
        return Whose(session.org_id, session.recipient_id)

    def raised(self, response: Response, token: str) -> Response:
        """Sets the cookie of a session that began or went on."""
        self.keep(response, SESSION_COOKIE, token)
        return response

    @property
    def browser(self) -> str:
        """The pre-sign-in cookie, which ties codes and forms to this browser."""
        if not self._browser or len(self._browser) != len(link_token(bytes(TOKEN_BYTES))):
            self._browser, self._new_browser = link_token(self.site.source.random(TOKEN_BYTES)), True
        return self._browser

    @property
    def csrf(self) -> str:
        """The token of forms. It is the browser's, so that a reply being typed outlives its session."""
        return self.site.csrf.token(self.browser)

    def check(self, token: str) -> None:
        """Raises RequestForged unless the form was ours."""
        self.site.csrf.check(token, self.browser)

    def organisation(self) -> Organisation | None:
        if self.session is None:
            return None
        session = self.session
        return Organisation(
            session.org_name, session.org_address, session.org_phone, session.org_look, session.org_host
        )

    def page(self, template: str, *, status: int = 200, org: Organisation | None = None, **context: Any) -> Response:
        """A page from templates/recipient/."""
        shared = {
            "dir": direction(self.language),
            "theme": self.theme,
            "org": org or self.organisation(),
            "signed_in": self.session is not None,
            **self._ends(),
            "csrf": self.csrf,
            "here": "",  # the page's own address, for its links to itself; said where a form's answer has none to load
            "languages": LANGUAGES,
            "nonce": self.request.scope["nonce"],
            "status": status,
        }
        shown = org or self.organisation()
        if shown and shown.host:
            shared["base_host"] = shown.host
        html = self.site.pages.render(f"recipient/{template}.html", self.language, {**shared, **context})
        return self.settled(HTMLResponse(html, status))

    def _ends(self) -> dict[str, int | None]:
        """Whole seconds until the session ends, idle or in any case."""
        if self.session is None:
            return {"ends_in": None, "over_in": None}
        over = self.session.ends_at - self.site.source.now()
        return {"ends_in": int(min(IDLE, over).total_seconds()), "over_in": int(over.total_seconds())}

    def go(self, path: str) -> Response:
        """After a change: the page to look at next (303, so that loading it again repeats nothing)."""
        return self.settled(RedirectResponse(path, 303))

    def go_and_return(self, path: str, delivery_id: str, draft: str) -> Response:
        """To `path`; the message's page leads to this draft the next time it is asked for."""
        response = self.go(path)
        self.keep(response, WRITING_COOKIE, f"{delivery_id}.{draft}", _WRITING_SECONDS)
        return response

    def returned(self, delivery_id: str) -> Response | None:
        """The way to the draft that was left to prove more, once."""
        left, _, draft = self.request.cookies.get(WRITING_COOKIE, "").partition(".")
        if left != delivery_id or not is_id(draft):
            return None
        response = self.go(f"/messages/{delivery_id}/reply/{draft}")
        self.keep(response, WRITING_COOKIE, "", 0)
        return response

    def settled(self, response: Response) -> Response:
        """Sets what the browser is to keep."""
        if self._new_browser:
            self.keep(response, BROWSER_COOKIE, self.browser)
        asked = self.request.query_params
        if asked.get("lang") in LANGUAGES:
            self.keep(response, LANGUAGE_COOKIE, asked["lang"], _YEAR)
        if "theme" in asked:
            self.keep(response, THEME_COOKIE, self.theme, _YEAR if self.theme else 0)
        return response

    def keep(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="lax")
