"""`python -m tests.browser.photograph FOLDER`: a picture of every page of the running demo, to be looked at by a person.

Wide and light, narrow and in Spanish, wide and dark, and wide without scripts. The README's picture is one of these.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from tests.browser.gallery import CHROMIUM, CHROMIUM_ARGS
from tests.browser.stage import AGENT, ALICE, CODE, LINK, REFERENCE, Stage, find, settled, staged, words

LOOKS: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1100, "height": 800}},
    "small-es": {"viewport": {"width": 320, "height": 640}, "locale": "es-ES"},
    "dark": {"viewport": {"width": 1100, "height": 800}, "color_scheme": "dark"},
    "no-js": {"viewport": {"width": 1100, "height": 800}, "java_script_enabled": False},
}


class Roll:
    """Pictures of one look."""

    def __init__(self, folder: Path, look: str, page: Page) -> None:
        self._folder, self._look, self.page = folder, look, page
        self._number = 0

    def take(self, name: str, page: Page | None = None) -> None:
        """The whole page, made as high as its content (a full-page shot would narrow frames)."""
        page = page or self.page
        page.wait_for_load_state()
        self._number += 1
        path = self._folder / f"{self._look}-{self._number:02}-{name}.png"
        if self._look == "no-js":  # the frame keeps its share of the window
            page.screenshot(path=path, full_page=True)
            return
        settled(page)
        size = LOOKS[self._look]["viewport"]
        for _again in range(2):  # a new height may bring new lines
            height = int(page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({"width": size["width"], "height": max(height, size["height"])})
        page.screenshot(path=path)
        page.set_viewport_size(size)


def story(stage: Stage, roll: Roll) -> None:
    """Every page in the order a person comes by."""
    page, notice = roll.page, stage.announce()
    page.goto(stage.mailbox)
    roll.take("mailbox")
    page.goto(stage.portal)
    roll.take("front")
    page.fill("#reference", "K7QF")
    page.click("main button")
    roll.take("front-error")
    page.fill("#reference", find(REFERENCE, notice))
    page.click("main button")
    roll.take("code-by-reference")
    page.goto(f"{page.url}/help")
    roll.take("code-help-by-reference")
    page.goto(find(LINK, notice))
    roll.take("link")
    mail = stage.next_letter(ALICE, lambda: page.click("main button"))
    roll.take("code")
    page.fill("#code", "1234 5678")
    page.click("main button")
    roll.take("code-error")
    page.goto(f"{page.url}/help")
    roll.take("code-help")
    page.click(".back")
    page.fill("#code", find(CODE, words(mail)))
    page.click("main button")
    message = page.url
    roll.take("message")
    for name in ("print", "body"):
        page.goto(f"{message}/{name}")
        roll.take(name)
    page.goto(f"{message}/reply")
    roll.take("reply")
    page.click("[data-send]")
    roll.take("reply-error")
    page.fill("#text", "Thank you, doctor.\nShall I keep the tablets?")
    card = FilePayload(name="insurance card.png", mimeType="image/png", buffer=bytes(90_000))
    page.set_input_files("#files", [card])
    page.wait_for_timeout(700)
    roll.take("reply-written")
    page.click("[data-send]")
    roll.take("reply-sent")
    page.goto(message)
    page.click("summary")
    roll.take("message-answered")
    page.goto(f"{stage.portal}/inbox")
    roll.take("inbox")
    stage.command("message", "revoke", stage.newest_message(), "--org", "northside", "--reason", "wrong report")
    page.goto(message)
    roll.take("taken-back")
    page.click("main form .button")
    roll.take("asked-again")
    page.goto(f"{stage.portal}/inbox")
    roll.take("inbox-taken-back")
    page.goto(find(LINK, notice))
    roll.take("link-taken-back")
    for path in ("nowhere", "help"):
        page.goto(f"{stage.portal}/{path}")
        roll.take(path)
    page.click("header button")
    roll.take("signed-out")
    page.goto(message)
    roll.take("sign-in-first")


def photograph(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, staged(Path(data)) as stage, sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        for look, options in LOOKS.items():
            context = browser.new_context(user_agent=AGENT, **options)
            story(stage, Roll(folder, look, context.new_page()))
            context.close()
        browser.close()


if __name__ == "__main__":
    photograph(Path(sys.argv[1]))
