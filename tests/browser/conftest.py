"""One Chromium for the shelf, and one demo a file."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.gallery import CHROMIUM, CHROMIUM_ARGS
from tests.browser.stage import Stage, staged


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo, with its first message sent."""
    with staged(tmp_path_factory.mktemp("demo")) as running:
        yield running
