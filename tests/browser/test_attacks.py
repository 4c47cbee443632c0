"""Every payload of tests/vectors/attacks.py against each wall by itself and both together, in a browser that is free to fetch.

A payload that leaves nothing open shares its document with a dozen others, any other has one of its own; many documents make a page.
What a payload reaches has its name in it: a request to the canary, a message to the top. Who only connected is found by halves.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from markupsafe import Markup
from playwright.sync_api import BrowserContext, Page

from portal.mime.clean import Cleaner, text_of
from portal.web.headers import framed_mail, printed_mail
from portal.web.templating import Pages, body_script_hash
from tests.browser.engine import A_TEST_S, Engine, answering
from tests.browser.gallery import draw_body
from tests.browser.test_hostile_mail import Canary
from tests.unit.test_mime_clean import judge
from tests.vectors.attacks import Attack, of

_A_DOCUMENT, _A_PAGE = 12, 50
_CLOSED = """(all) => all.map((one) => {
  const end = new DOMParser().parseFromString(`<body>${one}<i id="the-end">`, "text/html").getElementById("the-end");
  return end !== null && end.parentElement === end.ownerDocument.body;
})"""
# What a page has to hear at least where no wall stands; the others need a click, a form, or an older browser.
_LOUD = (
    "script-1 script-9 event-handlers-9 namespace-confusion-1 css-1 css-40 frames-and-objects-1 frames-and-objects-3 remote-loading-1 "
    "remote-loading-6 meta-base-and-link-1 meta-base-and-link-20 parser-differentials-1 encoding-tricks-18 breaking-out-and-gluing-2"
)
_FRAMED = 'sandbox="allow-scripts allow-popups allow-popups-to-escape-sandbox" referrerpolicy="no-referrer"'
_OUTER = """<!doctype html><title>outer</title><script>
const heard = new Set();
let dangers = 0;
addEventListener("message", ({data}) => {
  if (String(data).startsWith("ran:")) heard.add(data);
  if (String(data).startsWith("dangers:")) dangers += Number(data.slice(8));
});
</script>"""
# Stands before a payload, and is let run beside the portal's own script: submits every form and follows every link out of the frame,
# as somebody who was taken in would, and tells how much of the payload is there.
_PRESS = """addEventListener("load", () => {
  top.postMessage(`dangers:${document.querySelectorAll("script, [onerror], iframe, form, link").length}`, "*");
  for (const one of document.querySelectorAll("button, [type=submit], [type=image], [target]:not([target=_blank])")) one.click?.();
  for (const one of document.forms) HTMLFormElement.prototype.submit.call(one);
});"""
# What Chromium's own parser finds in the cleaned mail that is not an element or attribute of the list.
_STRANGERS = """([elements, attributes]) => [...document.querySelectorAll("main *")].flatMap((one) => [
  ...(elements.includes(one.localName) && one.namespaceURI === "http://www.w3.org/1999/xhtml" ? [] : [one.localName]),
  ...[...one.attributes].filter(({name, value}) => !attributes.includes(name)
    || (name === "href" && !/^(https?:\\/\\/|mailto:)/.test(value))
    || (name === "src" && !value.startsWith("data:image/"))
    || (name === "style" && /[\\\\@{}<>]|url|position|expression/i.test(value))).map(({name, value}) => `${name}=${value}`),
].map((found) => `${one.closest("[data-attack]").dataset.attack}: ${found}`))"""
_ELEMENTS = (
    "a abbr address article aside b bdo big blockquote br caption center cite code col colgroup dd del dfn div dl dt em "
    "figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp section "
    "small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var wbr "
)
_ATTRIBUTES = (
    "align alt bgcolor border cellpadding cellspacing color colspan data-attack dir face height href lang nowrap rel rowspan size src "
    "start style summary title type valign value width"
)


class Walls(ThreadingHTTPServer):
    """`/raw/3`, `/framed/3` and `/printed/3`: the third document under no policy or one of the portal's; `/framed?from=0`: many."""

    daemon_threads = True

    def __init__(self, attacks: list[Attack], documents: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Wall)
        self.url = f"http://localhost:{self.server_port}"
        self.attacks, self.documents, self.pages = attacks, documents, Pages("https://portal.clinic.example")
        press = "sha256-" + base64.b64encode(hashlib.sha256(_PRESS.encode()).digest()).decode()
        framed = framed_mail(f"{body_script_hash()}' '{press}")
        self.policies = {"framed": framed, "printed": printed_mail(), "raw": ""}
        self.cleaned = "".join(
            f'<div data-attack="{one.name}">{Cleaner().clean(one.html, lambda _: None).html}</div>\n' for one in attacks
        )


class _Wall(BaseHTTPRequestHandler):
    server: Walls

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        how, _, number = asked.path.strip("/").partition("/")
        if how == "cleaned":
            self._answer(f"{_OUTER}<main>{self.server.cleaned}</main>", "")
        elif how not in self.server.policies or (number and not number.isdigit()):
            self.send_error(404)
        elif number:
            raw = self.server.documents[int(number)]
            if how == "framed":
                raw = f"<script>{_PRESS}</script>{raw}"
            page = raw if how == "raw" else draw_body(self.server.pages, html=Markup(raw), script=how == "framed")
            self._answer(page, self.server.policies[how])
        else:
            begin = int(parse_qs(asked.query)["from"][0])
            box = _FRAMED if how == "framed" else ""
            numbers = range(begin, min(begin + _A_PAGE, len(self.server.documents)))
            frames = "".join(f'<iframe name="letter" {box} src="/{how}/{n}"></iframe>' for n in numbers)
            self._answer(_OUTER + frames, "" if how == "raw" else "frame-src 'self'")

    def _answer(self, page: str, policy: str) -> None:
        body = page.encode("utf-8", "surrogatepass")
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
        """Say nothing."""


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    """A listening canary."""
    bird = Canary()
    yield bird
    bird.close()


@pytest.fixture
def context(engine: Engine, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser with a profile of its own that may connect ahead of need."""
    with engine.profiled(tmp_path / "profile") as opened:
        yield opened


@pytest.fixture(scope="module")
def walls(engine: Engine, canary: Canary) -> Iterator[Walls]:
    """All payloads, aimed at the canary and served."""
    attacks = of(f"127.0.0.1:{canary.port}")
    with answering(A_TEST_S):
        made = documents(engine.page(), attacks)
    with Walls(attacks, made) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def documents(page: Page, attacks: list[Attack]) -> list[str]:
    """The payloads as documents: those that leave nothing open and do not speak for the whole document share one."""
    made: list[str] = []
    shared: list[str] = []
    for attack, closed in zip(attacks, page.evaluate(_CLOSED, [one.html for one in attacks]), strict=True):
        if not closed or attack.name.startswith("meta") or re.search("<(?:base|body|style)", attack.html):
            made.append(attack.html)
            continue
        shared.append(attack.html)
        if len(shared) == _A_DOCUMENT:
            made.append("\n".join(shared))
            shared.clear()
    return [*made, "\n".join(shared)]


def heard(canary: Canary) -> set[str]:
    """The payloads that reached the canary."""
    return {request.split(" ")[1].split("/")[1] for request in canary.requests()}


def ran(page: Page) -> set[str]:
    """The payloads whose script ran."""
    return {told.removeprefix("ran:") for told in page.evaluate("[...heard]")}


def each_page(context: BrowserContext, walls: Walls, how: str, look: Callable[[Page], object]) -> None:
    """Loads all payloads behind one wall. Nobody may lead the page away."""
    page = context.new_page()
    for begin in range(0, len(walls.documents), _A_PAGE):
        address = f"{walls.url}/{how}?from={begin}"
        page.goto(address)
        page.wait_for_timeout(250)  # what is still on its way
        look(page)
        assert page.url == address
    page.close()


def test_there_are_enough_attacks(walls: Walls) -> None:
    """At least 300 different payloads."""
    assert len({one.html.replace(one.name, "") for one in walls.attacks}) >= 300


def test_sanitiser_holds_every_attack_alone(context: BrowserContext, walls: Walls, canary: Canary) -> None:
    """Cleaned payloads under no policy at all: nothing runs, nothing connects, and Chromium finds only what is on the list."""
    page = context.new_page()
    page.goto(f"{walls.url}/cleaned")
    page.wait_for_timeout(500)
    assert page.evaluate(_STRANGERS, [_ELEMENTS.split(), _ATTRIBUTES.split()]) == []
    assert sorted(ran(page)) == []
    assert page.url == f"{walls.url}/cleaned"
    assert canary.opened == 0, bisected(context, walls, canary)
    page.close()


def bisected(context: BrowserContext, walls: Walls, canary: Canary) -> str:
    """Which cleaned payload it was that connected without saying its name."""
    page, suspects = context.new_page(), walls.cleaned.splitlines()
    while len(suspects) > 1:
        half = suspects[: len(suspects) // 2]
        before = canary.opened
        page.set_content("".join(half))
        page.wait_for_timeout(500)
        suspects = half if canary.opened > before else suspects[len(half) :]
    return suspects[0]


def test_both_walls_hold_every_attack(context: BrowserContext, walls: Walls, canary: Canary) -> None:
    """Cleaned payloads in the frame: nothing runs, not even a connection is made."""
    before = canary.opened
    document = draw_body(walls.pages, html=Markup(walls.cleaned))
    page = context.new_page()
    page.route(
        "**/both",
        lambda route: route.fulfill(
            body=document, headers={"content-type": "text/html", "content-security-policy": walls.policies["framed"]}
        ),
    )
    page.goto(f"{walls.url}/both")
    page.wait_for_timeout(500)
    assert page.locator("[style]").count() > 20
    assert canary.opened == before
    assert page.url == f"{walls.url}/both"
    page.close()


def test_cleaned_attack_is_read_again_as_it_was_written(context: BrowserContext, walls: Walls) -> None:
    """What Chromium makes of the cleaned payload, written out and cleaned again, is the same; trees that no parser keeps settle."""
    cleaner = Cleaner()
    once = [cleaner.clean(one.html, lambda _: None).html or "" for one in walls.attacks]
    page = context.new_page()
    reread = page.evaluate(
        "(all) => all.map((one) => new DOMParser().parseFromString(`<body>${one}`, 'text/html').body.innerHTML)", once
    )
    page.close()
    for one, first, again in zip(walls.attacks, once, reread, strict=True):
        judge(again)
        second = cleaner.clean(again, lambda _: None).html or ""
        if second != first:
            assert text_of(second) == text_of(first), one.name
            assert re.findall(r'(?:href|src)="[^"]*"', second) == re.findall(r'(?:href|src)="[^"]*"', first), one.name
            assert cleaner.clean(second, lambda _: None).html == second, json.dumps([one.name, first, second])


@pytest.mark.parametrize("how", ["framed", "printed"])
def test_frame_holds_every_attack_alone(context: BrowserContext, walls: Walls, canary: Canary, how: str) -> None:
    """Raw payloads under the portal's policy, in the frame or without one: none runs, fetches, posts a form or leads away."""
    canary.calls.clear()
    failed: set[str] = set()
    raw = 0

    def look(page: Page) -> None:
        nonlocal raw
        if how == "framed":
            raw += page.evaluate("dangers")
        failed.update(ran(page))

    each_page(context, walls, how, look)
    assert sorted(failed | heard(canary)) == []
    assert raw > 100 or how == "printed"  # they were there


def test_payloads_are_heard_without_walls(context: BrowserContext, walls: Walls, canary: Canary) -> None:
    """The positive control: of the same documents without a policy many run or fetch, and are known by their names."""
    scripts: set[str] = set()
    page = context.new_page()
    for begin in range(0, len(walls.documents), _A_PAGE):
        page.goto(f"{walls.url}/raw?from={begin}")
        page.wait_for_timeout(250)
        scripts |= ran(page)
    page.close()
    reached = heard(canary)
    print(sorted(scripts | reached))
    assert len(scripts) > 80
    assert len(reached) > 70
    assert scripts | reached >= set(_LOUD.split())
