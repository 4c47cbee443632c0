"""Scanners that drive Chromium: they run the page's JavaScript, press, submit, type, hover and click.

Playwright is an extra; where it or Chromium is missing, they say that they were not run. What they ask for outside of the link's
origin is refused before it leaves the browser. No authenticator is plugged in, so no passkey gesture can be made.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from portal.model.errors import InputRefused
from portal.scanner.findings import BY_COOKIE, BY_INBOX, BY_PAGE, INBOX, SESSION, SIGN_OUT, Bounds, Findings
from portal.scanner.pages import Page as Html
from portal.scanner.plain import BROWSER
from portal.scanner.target import Target

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Playwright, Request, Response, Route

MOST_REQUESTS = 250
"""More than a plain one may: each page is several."""
_MOST_OF_A_KIND = 12
"""Buttons, forms or links of one page."""
_BUTTONS = "button:visible, [type=submit]:visible, [type=button]:visible, [type=image]:visible, [role=button]:visible"
_TYPED = (
    "input:not([type]):visible, [type=text]:visible, [type=tel]:visible, [type=number]:visible, [type=email]:visible,"
    "[type=search]:visible, [type=password]:visible, textarea:visible"
)
_TO_OPEN_MS, _TO_ACT_MS, _TO_SETTLE_MS = 10_000, 1500, 120
_MISSING = "not run: pip install 'recipient-portal[scanner]'"


@dataclass(frozen=True)
class Browsing:
    """An emulator: the name its browser goes by (its own when empty), and what it does with the link."""

    name: str
    does: str
    act: "Callable[[Tour], None]"
    agent: str = BROWSER

    def visit(self, target: Target, browser: "Browser") -> Findings:
        """Raises InputRefused when the host does not answer."""
        context = browser.new_context(
            user_agent=self.agent or None,
            ignore_https_errors=target.any_certificate,
            service_workers="block",
            accept_downloads=False,
        )
        try:
            tour = Tour(context.new_page(), target)
            tour.begin()
            self.act(tour)
            requests, forms = tour.bounds.requests, tour.forms
            return Findings(self.name, self.does, requests, forms, tour.look_at_the_inbox())
        finally:
            context.close()


class Tour:
    """A browser's way through the pages of one origin, looked at after each step."""

    def __init__(self, page: "Page", target: Target) -> None:
        self.page, self.target = page, target
        self.bounds, self.forms, self.got_in = Bounds(MOST_REQUESTS), 0, ""
        page.context.route("**/*", self._pass)
        page.context.on("request", self._count)
        page.context.on("response", self._answered)

    def begin(self) -> None:
        from playwright.sync_api import Error

        try:
            self.page.goto(self.target.url, timeout=_TO_OPEN_MS)
        except Error as error:
            said = error.message.splitlines()[0].removeprefix("Page.goto: ")
            raise InputRefused(f"{self.target.origin.host} can't be opened in a browser: {said}.") from None
        self._look()

    def open(self, url: str) -> bool:
        """Whether the page stands there now."""
        return self.attempt(lambda: self.page.goto(url, timeout=_TO_OPEN_MS))

    def attempt(self, act: Callable[[], object]) -> bool:
        """Does what may fail: a button that went away is no reason to stop."""
        from playwright.sync_api import Error

        if not self.bounds.left():
            return False
        done = False
        with suppress(Error):
            act()
            done = True
        with suppress(Error):
            self.page.wait_for_timeout(_TO_SETTLE_MS)
            self.page.wait_for_load_state("load", timeout=_TO_OPEN_MS)
        self._look()
        return done

    def each(self, what: str, act: "Callable[[Locator], object]", pages: Sequence[str]) -> list[str]:
        """Does the same to each element of these kinds on each of these pages; gives the pages that came of it."""
        came: list[str] = []
        for at in pages:
            self.open(at)
            for number in range(min(self.page.locator(what).count(), _MOST_OF_A_KIND)):
                if number:
                    self.open(at)
                self.attempt(lambda one=self.page.locator(what).nth(number): act(one))
                if self.page.url not in (*pages, *came) and self.target.holds(self.page.url):
                    came.append(self.page.url)
        return came

    def look_at_the_inbox(self) -> str:
        """By what it is seen to be signed in, the inbox asked as well; empty when it is not."""
        self.bounds = Bounds(MOST_REQUESTS)
        answer = None if self.got_in else self.page.goto(f"{self.target.origin}{INBOX}", timeout=_TO_OPEN_MS)
        if answer and answer.ok:
            self.got_in = self.got_in or BY_INBOX
        return self.got_in

    def _look(self) -> None:
        if any(one.get("name") == SESSION and one.get("value") for one in self.page.context.cookies()):
            self.got_in = BY_COOKIE
        elif not self.got_in and self.page.locator(f'form[action$="{SIGN_OUT}"]').count():
            self.got_in = BY_PAGE

    def _pass(self, route: "Route") -> None:
        if self.target.holds(route.request.url) and self.bounds.left():
            route.continue_()
        else:
            route.abort()

    def _count(self, request: "Request") -> None:
        self.bounds.requests += self.target.holds(request.url)
        self.forms += request.method == "POST" and request.is_navigation_request()

    def _answered(self, response: "Response") -> None:
        """A session may be given and taken again within one step."""
        if f"{SESSION}=" in response.headers.get("set-cookie", "").replace(f'{SESSION}=""', ""):
            self.got_in = BY_COOKIE


def visits(target: Target, wanted: Sequence[Browsing], chromium: str) -> Iterator[Findings]:
    """Lets these loose in one Chromium, each with cookies of its own."""
    if not wanted:
        return
    if find_spec("playwright") is None:
        yield from (Findings(one.name, one.does, note=_MISSING) for one in wanted)
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = _launched(playwright, target, chromium)
        if browser is None:
            note = f"not run: no Chromium starts at {chromium}"
            yield from (Findings(one.name, one.does, note=note) for one in wanted)
            return
        for one in wanted:
            yield one.visit(target, browser)
        browser.close()


def _launched(playwright: "Playwright", target: Target, chromium: str) -> "Browser | None":
    """Chromium, to which no host but the target's exists: redirects don't pass through `Tour._pass`."""
    from playwright.sync_api import Error

    elsewhere = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {target.origin.host}"
    arguments = [elsewhere, "--no-first-run", "--disable-quic", "--disable-background-networking", "--no-proxy-server"]
    try:
        return playwright.chromium.launch(
            executable_path=chromium, args=arguments, chromium_sandbox=os.geteuid() != 0
        )  # as root Chromium starts without its sandbox only
    except Error:
        return None


# -- what they do


def _renders(tour: Tour) -> None:
    """Waits, scrolls and moves the mouse, as who looks at a picture of the page."""
    tour.attempt(lambda: tour.page.mouse.move(200, 200))
    tour.attempt(lambda: tour.page.mouse.wheel(0, 2000))
    tour.attempt(lambda: tour.page.wait_for_timeout(700))


def _presses(tour: Tour) -> None:
    """Presses every button of the page, of the pages that come of it, and of those."""
    pages = [tour.target.url]
    for _ in range(3):
        pages = tour.each(_BUTTONS, lambda one: one.click(timeout=_TO_ACT_MS), pages)


def _submits(tour: Tour) -> None:
    """Submits forms by script: no field is required then, and no button is asked."""
    pages = [tour.target.url]
    for _ in range(2):
        pages = tour.each("form", lambda one: one.evaluate("form => form.submit()", timeout=_TO_ACT_MS), pages)


def _fills(tour: Tour) -> None:
    """Presses what is there, then types into all fields of the pages that come of it, and presses Enter."""
    link = [tour.target.url]
    for at in (*link, *tour.each(_BUTTONS, lambda one: one.click(timeout=_TO_ACT_MS), link)):
        tour.open(at)
        for guess in Html(tour.page.content()).guesses()[:2]:
            _fill(tour, guess)


def _fill(tour: Tour, guess: str) -> None:
    fields = tour.page.locator(_TYPED)
    for number in range(min(fields.count(), _MOST_OF_A_KIND)):
        tour.attempt(lambda one=fields.nth(number): one.fill(guess, timeout=_TO_ACT_MS))
    if fields.count():
        tour.attempt(lambda: fields.last.press("Enter", timeout=_TO_ACT_MS))


def _hovers(tour: Tour) -> None:
    def hover_and_click(one: "Locator") -> None:
        one.hover(timeout=_TO_ACT_MS)
        one.click(timeout=_TO_ACT_MS)

    tour.each("a[href]:visible", hover_and_click, [tour.target.url])


BROWSERS: tuple[Browsing, ...] = (
    Browsing("render", "runs the page's JavaScript, waits, scrolls", _renders, agent=""),
    Browsing("press", "presses every button in a browser", _presses),
    Browsing("submit-by-script", "submits every form in a browser, by script", _submits),
    Browsing("fill", "fills in every field in a browser and presses Enter", _fills),
    Browsing("hover", "hovers over every link and clicks it", _hovers),
)
