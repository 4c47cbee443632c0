"""One Chromium a file, under a watch, and one demo."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.engine import Engine, pytest_runtest_protocol, watch  # noqa: F401 - watched
from tests.browser.stage import Stage, staged


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """What drives Chromium."""
    running = Engine()
    yield running
    running.stop()


@pytest.fixture
def chromium(engine: Engine) -> Browser:
    """Debian's Chromium."""
    return engine.browser


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo, with its first message sent."""
    with staged(tmp_path_factory.mktemp("demo")) as running:
        yield running
