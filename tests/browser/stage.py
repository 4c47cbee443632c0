"""The demo's own parts on free ports, and a browser to whom everything is listened: what it said, and whom it asked."""

import asyncio
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response, WebError, expect

from portal.demo import Demo, Ports, first_message, send, settings_of, started

ALICE, BOB, CAROL = "alice@patients.example", "bob@patients.example", "carol@clinic.example"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
WIDE, NARROW = {"width": 1100, "height": 800}, {"width": 320, "height": 640}
CODE = re.compile(r"\b\d{4} \d{4}\b")
REFERENCE = re.compile(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{2}\b")
LINK = re.compile(r"http://localhost:\d+/m/[\w-]+")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
_STATUS_LINE = "Failed to load resource: the server responded with a status of"
_PATIENCE_SECONDS = 20
T = TypeVar("T")


def until(look: Callable[[], T | None], what: str) -> T:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {_PATIENCE_SECONDS} s for {what}")


class Stage:
    """The demo, running in a thread of its own."""

    def __init__(self, data: Path) -> None:
        self.data, self.ports = data, _four_free_ports()
        self.portal, self.mailbox = self.ports.portal_url, self.ports.mailbox_url
        self.demo: Demo
        self._failure: BaseException | None = None
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # told to whoever starts or ends the stage
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with started(self.data, self.ports) as demo:
            self.demo = demo
            self._ready.set()
            await self._over.wait()

    def open(self) -> None:
        self._thread.start()
        self._ready.wait()
        self._check()

    def close(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def letters(self, to: str) -> list[EmailMessage]:
        """What came for somebody, oldest first."""
        found = []
        for kept in list(self.demo.mails):
            if to in kept.rcpt_to:
                mail = message_from_bytes(kept.raw, policy=policy.default)
                assert isinstance(mail, EmailMessage)
                found.append(mail)
        return found

    def next_letter(self, to: str, act: Callable[[], object]) -> EmailMessage:
        """The mail that comes for somebody because of `act`."""
        before = len(self.letters(to))
        act()
        return until(lambda: next(iter(self.letters(to)[before:]), None), f"a mail for {to}")

    def announce(self, mail: EmailMessage | None = None, to: str = ALICE) -> str:
        """Hands a mail to the intake as a relay does; gives the text of its notice."""
        mail = first_message() if mail is None else mail
        del mail["To"]
        mail["To"] = to
        ca, login = self.data / "ca.pem", self.demo.login
        return words(self.next_letter(to, lambda: send(mail, login, ca, self.ports.smtp)))

    def run(self, act: Callable[["Stage"], Coroutine[Any, Any, None]]) -> None:
        """Does something in the demo's own loop."""
        asyncio.run_coroutine_threadsafe(act(self), self._loop).result(_PATIENCE_SECONDS)

    def command(self, *words: str) -> str:
        """What an operator's command prints, run beside the demo on the same settings."""
        given = settings_of(self.data, self.ports).model_dump(exclude_unset=True)
        settings = {f"PORTAL_{name.upper()}": str(value) for name, value in given.items()}
        program = [sys.executable, "-c", "from portal.cli import main; main()"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTAL_")}
        done = subprocess.run(
            [*program, *words], capture_output=True, text=True, timeout=60, env=environment | settings
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def newest_message(self) -> str:
        """The id of the message that came last, as an operator finds it."""
        return find(_ID, self.command("message", "list", "--org", "northside"))


@contextmanager
def staged(data: Path) -> Iterator[Stage]:
    """A running demo, drained afterwards."""
    stage = Stage(data)
    stage.open()
    try:
        # Its own first message is announced before a test's: else the one would be taken for the other.
        until(lambda: stage.letters(ALICE) or None, "the first notice")
        yield stage
    finally:
        stage.close()


def _four_free_ports() -> Ports:
    while True:
        first = random.randrange(20_000, 32_000)  # below the range that outgoing connections take theirs from
        with suppress(OSError):
            for port in range(first, first + 4):
                with socket.create_server(("127.0.0.1", port)):
                    pass
            return Ports.in_a_row(first)


def words(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def find(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    assert found, text
    return found[0]


class Watch:
    """What a browser said that it should not have, and whom it asked that is not ours. Both stay empty."""

    def __init__(self, context: BrowserContext, *own: str) -> None:
        self.said: list[str] = []
        self.foreign: list[str] = []
        self.asked: list[Request] = []
        self._own = (*(f"{one}/" for one in own), "data:", "about:")
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "info" and not message.text.startswith(_STATUS_LINE):  # _response judges these
            self.said.append(f"{message.type}: {message.text}")

    def _error(self, error: WebError) -> None:
        self.said.append(str(error.error))

    def _request(self, request: Request) -> None:
        self.asked.append(request)
        if not request.url.startswith(self._own):
            self.foreign.append(request.url)

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.said.append(f"{response.status} for {response.url}")


def settled(tab: Page) -> None:
    """The framed message, where there is one, has told its height."""
    if tab.query_selector("iframe.mail"):
        tab.wait_for_selector("iframe.mail[style]")


def inspect(tab: Page) -> None:
    """One h1; nothing for axe to find, light and wide or dark and narrow; no sideways scroll."""
    expect(tab.locator("h1")).to_have_count(1)
    tab.wait_for_load_state()
    findings: list[str] = []
    for scheme, size in (("light", WIDE), ("dark", NARROW)):
        tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        tab.set_viewport_size(size)  # type: ignore[arg-type]
        assert tab.evaluate(OVERFLOW) == 0, tab.url
        result: dict[str, Any] = Axe().run(tab, options=_AXE).response
        findings += [f"{scheme} {tab.url} {v['id']}: {v['nodes'][0]['html']}" for v in result["violations"]]
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert not findings, findings
