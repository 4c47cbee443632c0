"""One Chromium a file, under a watch, and one demo."""

import sys
from collections.abc import Iterator

import pytest
from _pytest.runner import runtestprotocol
from playwright.sync_api import Browser

from tests.browser.engine import A_TEST_S, Engine, answering, kills
from tests.browser.stage import Stage, staged


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
            item._initrequest()  # type: ignore[attr-defined] # its fixtures anew
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """What drives Chromium."""
    running = Engine()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _answering() -> Iterator[None]:
    """No test waits for its browser for ever."""
    with answering(A_TEST_S):
        yield


@pytest.fixture
def chromium(engine: Engine) -> Browser:
    """Debian's Chromium."""
    return engine.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo, with its first message sent."""
    with staged(tmp_path_factory.mktemp("demo")) as running:
        yield running
