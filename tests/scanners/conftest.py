"""One demo for the shelf."""

from collections.abc import Iterator

import pytest

from tests.browser.engine import pytest_runtest_protocol, watch  # noqa: F401 - watched
from tests.browser.stage import Stage, staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demo, with its first message sent."""
    with staged(tmp_path_factory.mktemp("demo")) as running:
        yield running
