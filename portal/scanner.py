"""Mail scanners, imitated: what fetches the links of a notice before its reader does, and what it gets.

`portal scanner-check URL` lets each loose on a link and says whether it got in. Plain ones speak HTTP; the others drive Chromium
(`pip install recipient-portal[scanner]`). They stay at the link's origin, and stop after 60 requests or 30 seconds. None can make a
passkey gesture or read a mailbox: what they type is made up, or stands on the page.
"""

import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

from portal.model.errors import InputRefused

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

MOST_REQUESTS, MOST_SECONDS = 60, 30
SESSION = "__Host-session"
_BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
)
_SCANNER = "mail-link-scanner/1.0"
_DIGITS = re.compile(r"\b\d{4}[ -]?\d{4}\b|\b\d{6,8}\b")
_MOST_BYTES = 1024 * 1024
_SAME_FORM = 2
"""How often the same form is submitted: its answer may hold it once more."""


@dataclass
class Outcome:
    """What an emulator did, and whether it got in. `note` says why one was not run."""

    name: str
    does: str
    requests: int = 0
    forms: int = 0
    signed_in: bool = False
    note: str = ""


@dataclass
class _Form:
    action: str
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    """Names of the fields that a person fills in."""


class _Page(HTMLParser):
    """Links and forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[_Form] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
        elif tag == "form":
            self.forms.append(_Form(said.get("action", ""), said.get("method", "get").lower()))
        elif tag in ("input", "textarea", "button") and self.forms and said.get("name"):
            form = self.forms[-1]
            form.fields[said["name"]] = said.get("value", "")
            if tag == "textarea" or (tag == "input" and said.get("type", "text") not in ("hidden", "submit", "file")):
                form.typed.append(said["name"])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


class Client:
    """A plain HTTP client with a memory for cookies, bound to one origin."""

    def __init__(self, url: str, agent: str, headers: Mapping[str, str] | None = None) -> None:
        self.url, self.requests, self.forms, self.cookies = url, 0, 0, dict[str, str]()
        self._headers = {"user-agent": agent, "accept": "text/html,*/*", **(headers or {})}
        self._until = time.monotonic() + MOST_SECONDS
        self.got_session = False

    def fetch(self, url: str, method: str = "GET", form: Mapping[str, str] | None = None) -> str:
        """The page at a URL of this origin, redirects followed; empty for any other, and once enough was asked."""
        for _ in range(5):
            if not same_origin(url, self.url) or self.requests >= MOST_REQUESTS or time.monotonic() > self._until:
                return ""
            answer, body = self._once(url, method, form)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return body
            url, method, form = urljoin(url, location), "GET", None
        return ""

    def _once(self, url: str, method: str, form: Mapping[str, str] | None) -> tuple[HTTPResponse, str]:
        self.requests += 1
        headers, body = dict(self._headers), None
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if form is not None:
            self.forms += 1
            body = urlencode(form).encode()
            parts = urlsplit(url)
            headers |= {
                "content-type": "application/x-www-form-urlencoded",
                "origin": f"{parts.scheme}://{parts.netloc}",
            }
        with _connected(url) as connection:
            parts = urlsplit(url)
            connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
            answer = connection.getresponse()
            text = answer.read(_MOST_BYTES).decode("utf-8", "replace")
        for line in answer.headers.get_all("set-cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name.strip()] = value.strip()
            self.got_session = self.got_session or (name.strip() == SESSION and bool(value.strip('" ')))
        return answer, text

    def is_in(self) -> bool:
        """Whether it was given a session, or is shown the inbox."""
        if self.got_session:
            return True
        self._until = time.monotonic() + 10
        answer, _ = self._once(urljoin(self.url, "/inbox"), "GET", None)
        return answer.status == 200


@contextmanager
def _connected(url: str) -> Iterator[HTTPConnection]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection = (
        HTTPSConnection(host, port, timeout=10, context=ssl.create_default_context())
        if parts.scheme == "https"
        else HTTPConnection(host, port, timeout=10)
    )
    try:
        yield connection
    except ssl.SSLError:
        raise InputRefused(f"{host} has no certificate that can be trusted.") from None
    except (OSError, HTTPException) as error:
        raise InputRefused(f"{host} does not answer: {type(error).__name__}.") from None
    finally:
        connection.close()


def same_origin(url: str, other: str) -> bool:
    one, two = urlsplit(url), urlsplit(other)
    return (one.scheme, one.hostname, one.port) == (two.scheme, two.hostname, two.port)


# -- the plain ones


def _gets(url: str, client: Client) -> None:
    client.fetch(url)


def _heads(url: str, client: Client) -> None:
    client.fetch(url, "HEAD")
    client.fetch(url, "HEAD")


def _rewrites(url: str, client: Client) -> None:
    """Wrapped and unwrapped links come back a little otherwise: a parameter, a sign of the sentence, escapes, other case."""
    parts = urlsplit(url)
    for changed in (
        f"{url}?utm_source=mail", f"{url}.", f"{url})", f"{url}%20", f"{url}/", f"{url}?{parts.path}",
        url.replace(parts.path, parts.path.swapcase()), url.replace(parts.path, parts.path.replace("-", "%2D")), url, url,
    ):  # fmt: skip
        client.fetch(changed)


def _crawls(url: str, client: Client) -> None:
    """Follows every link of every page it finds."""
    seen, waiting = set[str](), [url]
    while waiting and len(seen) < MOST_REQUESTS:
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        waiting += [urljoin(at, link).split("#")[0] for link in _Page(client.fetch(at)).links]


def _submits(url: str, client: Client) -> None:
    """Submits every form with what is prefilled, and those on the pages that come of it."""
    _forms(url, client, lambda name, page: None)


def _guesses(url: str, client: Client) -> None:
    """Fills every field in, with digits that stand on the page or made-up ones, and submits."""
    _forms(url, client, lambda name, page: (_DIGITS.findall(" ".join(page.text)) or ["00000000"])[0])


def _forms(url: str, client: Client, fill: Callable[[str, _Page], str | None]) -> None:
    waiting, sent = [(url, client.fetch(url))], Counter[str]()
    while waiting:
        at, html = waiting.pop(0)
        page = _Page(html)
        for form in page.forms:
            sent[form.action] += 1
            if sent[form.action] > _SAME_FORM:
                continue
            values = {**form.fields, **{name: typed for name in form.typed if (typed := fill(name, page)) is not None}}
            target = urljoin(at, form.action)
            if form.method == "post":
                waiting.append((target, client.fetch(target, "POST", values)))
            else:
                waiting.append((target, client.fetch(f"{target}?{urlencode(values)}")))


# -- those with a browser


def _renders(page: "Page") -> int:
    page.wait_for_timeout(500)
    return 0


def _presses(page: "Page") -> int:
    """Presses every button, three pages deep."""
    pressed = 0
    for _ in range(3):
        before, buttons = page.url, page.locator("button:visible, [type=submit]:visible")
        for number in range(min(buttons.count(), 8)):
            pressed += _tried(buttons.nth(number).click, timeout=2000)
            page.wait_for_timeout(150)
            if page.url != before:
                break
    return pressed


def _fills(page: "Page") -> int:
    """Fills in every field and presses Enter, after having asked for a code."""
    sent = _tried(page.locator("main form button:visible").first.click, timeout=2000)
    for _ in range(2):
        page.wait_for_timeout(200)
        fields = page.locator("input[type=text]:visible, textarea:visible")
        digits = (_DIGITS.findall(page.locator("body").inner_text()) or ["12345678"])[0]
        for number in range(min(fields.count(), 5)):
            _tried(fields.nth(number).fill, digits, timeout=2000)
        if fields.count():
            sent += _tried(fields.first.press, "Enter", timeout=2000)
    return sent


def _hovers(page: "Page") -> int:
    """Hovers over every link and opens each of this origin."""
    links = page.locator("a[href]:visible")
    count = min(links.count(), 15)
    addresses = [urljoin(page.url, str(links.nth(number).get_attribute("href"))) for number in range(count)]
    for number in range(count):
        _tried(links.nth(number).hover, timeout=1000)
    here = page.url
    for address in addresses:
        if same_origin(address, here):
            _tried(page.goto, address, timeout=5000)
    return 0


def _watched(page: "Page") -> "list[Request]":
    """What the page will have asked for."""
    asked: list[Request] = []

    def note(request: "Request") -> None:
        asked.append(request)

    page.on("request", note)
    return asked


def _tried(act: Callable[..., Any], *given: Any, **more: Any) -> int:
    with suppress(Exception):  # a button that went away is no reason to stop
        act(*given, **more)
        return 1
    return 0


Plain = tuple[str, str, Callable[[str, Client], None], str, Mapping[str, str]]
PLAIN: tuple[Plain, ...] = (
    ("get", "fetches the link", _gets, _SCANNER, {}),
    ("head", "asks for its headers, twice", _heads, _SCANNER, {}),
    ("get-as-browser", "fetches it under a browser's name", _gets, _BROWSER, {"sec-fetch-mode": "navigate"}),
    ("prefetch", "fetches it ahead, as mail programs do", _gets, _BROWSER, {"sec-purpose": "prefetch"}),
    ("rewrite", "fetches it rewritten, escaped, cut and doubled", _rewrites, _SCANNER, {}),
    ("crawl", "follows every link it finds", _crawls, _SCANNER, {}),
    ("submit", "submits every form as it is prefilled", _submits, _BROWSER, {}),
    ("guess", "fills in every form and submits it", _guesses, _BROWSER, {}),
)
BROWSERS: tuple[tuple[str, str, Callable[["Page"], int]], ...] = (
    ("render", "runs the page's JavaScript", _renders),
    ("press", "presses every button", _presses),
    ("fill", "fills in every field in a browser", _fills),
    ("hover", "hovers over links and opens them", _hovers),
)
NAMES: tuple[str, ...] = (*(one[0] for one in PLAIN), *(one[0] for one in BROWSERS))


def check_url(url: str) -> None:
    """Raises InputRefused for what is no link."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputRefused("Give a whole link, such as https://portal.example/m/...")


def run(url: str, names: tuple[str, ...] = NAMES, chromium: str = "/usr/bin/chromium") -> Iterator[Outcome]:
    """Lets each of these loose on a link. Raises InputRefused when nothing answers there."""
    check_url(url)
    for name, does, act, agent, headers in PLAIN:
        if name in names:
            client = Client(url, agent, headers)
            act(url, client)
            yield Outcome(name, does, client.requests, client.forms, client.is_in())
    wanted = [one for one in BROWSERS if one[0] in names]
    if wanted and find_spec("playwright") is None:
        yield from (Outcome(name, does, note="not run: install recipient-portal[scanner]") for name, does, _ in wanted)
    elif wanted:
        yield from _in_browsers(url, wanted, chromium)


def _in_browsers(url: str, wanted: list[Any], chromium: str) -> Iterator[Outcome]:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for name, does, act in wanted:
            context = browser.new_context()
            page = context.new_page()
            asked = _watched(page)
            page.goto(url, timeout=30_000)
            forms = act(page)
            inside = any(one.get("name") == SESSION for one in context.cookies())
            answer = page.goto(urljoin(url, "/inbox"), timeout=30_000)
            inside = inside or bool(answer and answer.status == 200)
            context.close()
            yield Outcome(name, does, len(asked), forms, inside)
        browser.close()
