"""Chromium, begun anew where it has stopped answering.

Chromium was seen never to answer the end of a context, most of all on a busy machine, and Playwright waits for that without a limit.
Whatever waits for it here waits under a limit; then browser and driver are killed, what waited fails, and the next browser is fresh.
A shelf is watched by importing `pytest_runtest_protocol` and `watch` into its conftest.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from playwright.sync_api import Browser, BrowserContext, Error, Page, Playwright, sync_playwright

from tests.browser.gallery import CHROMIUM, CHROMIUM_ARGS

A_TEST_S, A_CLOSE_S = 120, 15
_BACKGROUND = "--disable-background-networking"
_kills = 0


def kills() -> int:
    """How often no answer came in time, in this process."""
    return _kills


@contextmanager
def answering(within_s: float) -> Iterator[None]:
    """Kills this process's browsers once `within_s` have passed; what waits for them then fails."""
    timer = threading.Timer(within_s, _kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def leave(what: Browser | BrowserContext | Playwright, within_s: float = A_CLOSE_S) -> None:
    """Ends it, whether it answers or not."""
    with answering(within_s), suppress(Error):
        what.stop() if isinstance(what, Playwright) else what.close()


class Engine:
    """One driver at a time, and what it drives."""

    def __init__(self) -> None:
        self._driver: Playwright | None = None
        self._browser: Browser | None = None
        self._page: Page | None = None
        self._born = 0

    @property
    def driver(self) -> Playwright:
        """Playwright, alive."""
        if self._driver is None or self._born != _kills:
            self.stop()
            self._born, self._driver = _kills, sync_playwright().start()
        return self._driver

    @property
    def browser(self) -> Browser:
        """Debian's Chromium, alive."""
        driver = self.driver
        if self._browser is None:
            self._browser = driver.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        return self._browser

    def page(self, **options: Any) -> Page:
        """A page that lasts as long as its browser."""
        browser = self.browser
        if self._page is None:
            self._page = browser.new_context(**options).new_page()
        return self._page

    @contextmanager
    def profiled(self, folder: Path, **options: Any) -> Iterator[BrowserContext]:
        """A browser with a profile of its own that may connect ahead of need."""
        opened = self.driver.chromium.launch_persistent_context(
            folder,
            executable_path=CHROMIUM,
            args=[one for one in CHROMIUM_ARGS if one != _BACKGROUND],
            ignore_default_args=[_BACKGROUND],
            **options,
        )
        try:
            yield opened
        finally:
            leave(opened)

    def stop(self) -> None:
        """Ends browser and driver."""
        if self._browser and self._born == _kills:
            leave(self._browser)
        if self._driver:
            leave(self._driver)
        self._driver = self._browser = self._page = None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """A test whose browser stopped answering is run once more, with a fresh one; the report of the run says so."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    before = kills()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if kills() > before:
        with item.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{item.nodeid}: Chromium did not answer and was killed", file=sys.stderr)
        if any(one.failed for one in reports):
            # Its file's fixtures anew, too: the portal that it left half-way is another's by now.
            item.session._setupstate.teardown_exact(item.session)  # type: ignore[arg-type]
            item._initrequest()  # type: ignore[attr-defined]
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(autouse=True)
def watch() -> Iterator[None]:
    """No test waits for its browser for ever."""
    with answering(A_TEST_S):
        yield


def _kill() -> None:
    global _kills
    _kills += 1
    for process in drivers():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def drivers() -> list[int]:
    """This process's Playwright drivers and all that they started, the deepest first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = []
    for child in children.get(os.getpid(), []):
        with suppress(OSError):
            if b"playwright" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    for one in found:  # grows while it is read
        found += children.get(one, [])
    return found[::-1]
