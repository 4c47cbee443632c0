"""The watch over Chromium itself."""

import os
import signal
from contextlib import suppress

import pytest
from playwright.sync_api import Error

from tests.browser.engine import Engine, answering, drivers, kills, leave


def test_a_browser_that_never_answers_is_left_behind(engine: Engine) -> None:
    """Its end is not waited for, nor is an answer; the next browser is a fresh one, and works."""
    for what in ("end", "answer"):
        stood, before = engine.browser, kills()
        page = stood.new_context().new_page()
        for process in drivers()[:-1]:  # the driver itself goes on
            with suppress(ProcessLookupError):  # a helper that has just ended
                os.kill(process, signal.SIGSTOP)
        if what == "end":
            leave(page.context, within_s=1)
        else:
            with answering(1), pytest.raises(Error):
                page.evaluate("1")
        assert kills() == before + 1
        assert engine.browser is not stood
        assert engine.browser.new_page().evaluate("1 + 1") == 2
