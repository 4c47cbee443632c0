"""The whole story as people live it: the demo in Chromium, from the notice in the mailbox to the reply at the sender's.

Every page that is visited is looked at by axe, and the browser is listened to: one line on its console, one request to
anybody else, and the test fails.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, FilePayload, Locator, Page, expect

from portal import paths
from tests.browser.engine import leave
from tests.browser.stage import (
    AGENT,
    ALICE,
    BOB,
    CAROL,
    CODE,
    LINK,
    REFERENCE,
    WIDE,
    Stage,
    Watch,
    find,
    inspect,
    settled,
    until,
    words,
)

SUBJECT = "Your blood results from Tuesday"
REPORT = paths.templates() / "demo" / "results.pdf"
CARD = FilePayload(name="insurance card.png", mimeType="image/png", buffer=b"\x89PNG\r\n\x1a\n" + bytes(900_000))
NOTES = FilePayload(name="Preguntas año 2026.txt", mimeType="text/plain", buffer="¿Cuánto hierro?\n".encode() * 9)
FOCUS = """() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
  const name = e.tagName === "IFRAME" ? "" : e.name;
  return {what: e.innerText || name || e.tagName, width: parseFloat(s.outlineWidth), style: s.outlineStyle,
          halo: s.boxShadow, shown: b.width > 0 && b.height > 0}; }"""


@contextmanager
def person(chromium: Browser, stage: Stage, **more: Any) -> Iterator[tuple[BrowserContext, Watch]]:
    """A person's browser; left in peace only if it said nothing and asked nobody else."""
    context = chromium.new_context(
        viewport=WIDE,  # type: ignore[arg-type]
        user_agent=AGENT,
        locale="en-GB",
        reduced_motion="reduce",  # axe would measure colours half way from light to dark
        **more,
    )
    watch = Watch(context, stage.portal, stage.mailbox)
    try:
        yield context, watch
    finally:
        leave(context)
    assert watch.said == []
    assert watch.foreign == []


def shown(page: Page, stage: Stage, holds: re.Pattern[str]) -> Locator:
    """The newest mail on the mailbox's page, once it holds what is looked for."""

    def look() -> Locator | None:
        page.goto(stage.mailbox)
        newest = page.locator("article").first
        return newest if newest.count() and holds.search(newest.inner_text()) else None

    return until(look, f"{holds.pattern} in the mailbox")


def sign_in(page: Page, stage: Stage, link: str, who: str = ALICE) -> None:
    """From the link to the message, with the code read in the mailbox."""
    page.goto(link)
    mail = stage.next_letter(who, page.get_by_role("button", name="Send me a code").click)
    page.get_by_label("Code", exact=True).fill(find(CODE, words(mail)))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".subject")).to_have_text(SUBJECT)


def downloaded(page: Page, click: Callable[[], object]) -> tuple[str, bytes]:
    """The name and the bytes of what a click downloads."""
    with page.expect_download() as caught:
        click()
    return caught.value.suggested_filename, Path(caught.value.path()).read_bytes()


def test_patient_reads_answers_and_leaves_nothing_behind(chromium: Browser, stage: Stage) -> None:
    """From the notice to the reply in the sender's mailbox, each page sound, and after signing out nothing is there."""
    with person(chromium, stage) as (context, _):
        mailbox, page = context.new_page(), context.new_page()
        _enters(page, mailbox, stage)
        _reads(page)
        _takes_files(context, page)
        _replies(page, stage)
        _switches_and_leaves(page)


def _enters(page: Page, mailbox: Page, stage: Stage) -> None:
    notice = shown(page, stage, LINK)
    assert SUBJECT not in notice.inner_text()
    notice.locator("a[href*='/m/']").first.click()
    expect(page.locator("h1")).to_have_text("A message is waiting for you")
    inspect(page)
    page.get_by_role("button", name="Send me a code").click()
    expect(page.locator("h1")).to_have_text("Enter your code")
    inspect(page)
    page.get_by_role("link", name="Not received a code?").click()
    inspect(page)
    page.get_by_role("link", name="Back to entering the code").click()
    page.get_by_label("Code", exact=True).fill("0000 0000")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".errors")).to_be_focused()
    inspect(page)
    code = find(CODE, shown(mailbox, stage, CODE).inner_text())
    page.bring_to_front()  # browsers draw what is behind once a second only
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".subject")).to_have_text(SUBJECT)


def _reads(page: Page) -> None:
    settled(page)
    inspect(page)
    settled(page)
    letter = page.frame_locator("iframe.mail")
    expect(letter.get_by_text("Your blood results are back")).to_be_visible()
    picture = letter.get_by_role("img", name="Iron level")
    assert picture.evaluate("one => one.complete && one.naturalWidth > 0 && one.src.startsWith('data:image/png')")
    assert page.frames[1].evaluate("document.documentElement.scrollHeight <= innerHeight"), "the frame scrolls"


def _takes_files(context: BrowserContext, page: Page) -> None:
    name, content = downloaded(page, page.get_by_role("link", name="Blood results 17 November.pdf").click)
    assert name == "Blood results 17 November.pdf"
    assert content == REPORT.read_bytes()
    name, content = downloaded(page, page.get_by_role("link", name="Download the original").click)
    original = message_from_bytes(content, policy=policy.default)
    assert isinstance(original, EmailMessage)
    assert (name, original["Subject"]) == ("message.eml", SUBJECT)
    assert [part.get_content() for part in original.iter_attachments()] == [REPORT.read_bytes()]
    for way in ("Print", "Open the message on its own page"):
        with context.expect_page() as opened:
            page.get_by_role("link", name=way).click()
        paper = opened.value
        expect(paper.get_by_text("Your blood results are back")).to_be_visible()
        assert paper.evaluate("opener") is None
        if way == "Print":  # no script runs there, so axe sees the same document without its policy
            copy = paper.content()
            paper.goto("about:blank")
            paper.set_content(copy)
            inspect(paper)
        paper.close()
        page.bring_to_front()


def _replies(page: Page, stage: Stage) -> None:
    page.get_by_role("link", name="Reply").click()
    inspect(page)
    page.get_by_label("Your reply").fill("Thank you, doctor.\nShall I keep the tablets?")
    expect(page.locator("#save-news")).to_contain_text("Saved at")
    page.get_by_role("link", name="Back to the message").click()
    expect(page.get_by_text("You began a reply on")).to_be_visible()
    page.get_by_role("link", name="Go on writing").click()
    expect(page.get_by_label("Your reply")).to_have_value("Thank you, doctor.\nShall I keep the tablets?")
    wire = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_200_000}
    wire.send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#files", [CARD, NOTES])
    expect(page.locator("#uploads > li").first).to_contain_text(re.compile(r"\d+ KB of 900 KB sent"))
    expect(page.locator("#uploads > li").nth(1)).to_contain_text("Attached, 162 bytes")
    wire.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    inspect(page)
    mail = stage.next_letter(CAROL, page.get_by_role("button", name="Send reply").click)
    expect(page.locator("h1")).to_have_text("Your reply is on its way")
    for text in ("Shall I keep the tablets?", "insurance card.png", "900 KB", "Preguntas año 2026.txt"):
        expect(page.locator("main")).to_contain_text(text)
    inspect(page)
    assert mail["In-Reply-To"].endswith("@clinic.example>")
    assert "Shall I keep the tablets?" in words(mail)
    sent = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert sent == {one["name"]: one["buffer"] for one in (CARD, NOTES)}
    page.get_by_role("link", name="Back to the message").click()
    _, content = downloaded(page, page.get_by_role("link", name="Preguntas año 2026.txt").click)
    assert content == NOTES["buffer"]
    page.get_by_text("Who has seen this message").click()
    expect(page.locator("details")).to_contain_text("Reply sent")
    settled(page)
    inspect(page)


def _switches_and_leaves(page: Page) -> None:
    page.get_by_role("link", name="Back to your messages").click()
    expect(page.locator(".inbox li")).to_contain_text([SUBJECT])
    inspect(page)
    page.get_by_role("link", name="Español").click()
    expect(page.locator("h1")).to_have_text("Sus mensajes")
    assert page.get_attribute("html", "lang") == "es"
    page.get_by_role("link", name="Oscuro").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 25, 27)"
    page.get_by_role("link", name=SUBJECT).click()
    expect(page.get_by_role("heading", name="Sus respuestas")).to_be_visible()
    settled(page)
    inspect(page)
    page.get_by_role("button", name="Cerrar sesión").click()
    expect(page.locator("h1")).to_have_text("Su sesión está cerrada")
    inspect(page)
    expect(page.get_by_role("link", name="English")).to_have_attribute(
        "href", "/?lang=en"
    )  # a form's answer is no page
    page.go_back()
    assert SUBJECT not in page.content()
    expect(page.locator("h1")).to_have_text("Inicie sesión para ver esto")
    inspect(page)
    page.get_by_role("link", name="Escribir la referencia").click()
    expect(page.get_by_label("Escriba la referencia de su aviso")).to_be_visible()


def test_patient_without_javascript_reads_and_answers(chromium: Browser, stage: Stage) -> None:
    """Scripts switched off: link, code, message, files, a reply with a file taken away again, and the way out."""
    link = find(LINK, stage.announce(to=BOB))
    with person(chromium, stage, java_script_enabled=False) as (context, _):
        page = context.new_page()
        sign_in(page, stage, link, BOB)
        expect(page.frame_locator("iframe.mail").get_by_text("Your blood results are back")).to_be_visible()
        assert page.locator("iframe.mail").bounding_box()["height"] == 640  # type: ignore[index]
        _, content = downloaded(page, page.get_by_role("link", name="Blood results 17 November.pdf").click)
        assert content == REPORT.read_bytes()
        page.get_by_role("link", name="Reply").click()
        page.get_by_label("Your reply").fill("**Thank** you.")
        page.get_by_label("Show **bold**").check()
        page.set_input_files("#files", [CARD, NOTES])
        page.get_by_role("button", name="Save and go on later").click()
        page.get_by_role("link", name="Go on writing").click()
        page.get_by_role("button", name="Look at it first").click()
        expect(page.locator("#preview strong")).to_have_text("Thank")
        expect(page.locator("#uploads > li")).to_have_count(2)
        page.get_by_role("button", name="Send reply").click()
        receipt = page.locator("main")
        expect(receipt).to_contain_text("insurance card.png")
        expect(receipt).to_contain_text("Preguntas año 2026.txt")
        page.get_by_role("link", name="Back to the message").click()
        expect(page.get_by_role("heading", name="Your replies")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("You are signed out")
        page.goto(f"{stage.portal}/inbox")
        expect(page.locator("h1")).to_have_text("Sign in to see this")


def test_reference_typed_on_the_front_page_tells_nothing_before_the_code(chromium: Browser, stage: Stage) -> None:
    """Typed in small letters it leads to a code, and a reference that is nobody's leads to the same page."""
    reference = find(REFERENCE, stage.announce())
    with person(chromium, stage) as (context, _):
        page = context.new_page()
        pages: list[tuple[str, str]] = []
        code = ""
        for typed in (reference.lower().replace("-", " "), "2222-2222-22"):
            page.goto(stage.portal)
            inspect(page)
            page.get_by_label("Enter the reference").fill(typed)
            button = page.get_by_role("button", name="Continue")
            if not pages:
                code = find(CODE, words(stage.next_letter(ALICE, button.click)))
            else:
                button.click()
            expect(page.locator("h1")).to_have_text("Enter your code")
            inspect(page)
            pages.append((page.url, re.sub(r"reference \w{3}\.", "", page.locator("body").inner_text())))
            page.get_by_role("link", name="Not received a code?").click()
            inspect(page)
        assert pages[0][1] == pages[1][1]
        assert "Northside" not in pages[0][1]
        page.goto(pages[0][0])
        page.get_by_label("Code", exact=True).fill(code)
        page.get_by_role("button", name="Continue").click()
        expect(page.locator(".subject")).to_have_text(SUBJECT)


def test_message_taken_back_explains_and_can_be_asked_for_again(chromium: Browser, stage: Stage) -> None:
    """The operator revokes while it is being read: the page says so at the next look, and asking reaches the sender."""
    link = find(LINK, stage.announce())
    with person(chromium, stage) as (context, _):
        page = context.new_page()
        sign_in(page, stage, link)
        stage.command("message", "revoke", stage.newest_message(), "--org", "northside", "--reason", "wrong report")
        answer = page.reload()
        assert answer is not None
        assert answer.status == 410
        expect(page.locator("h1")).to_have_text("This message was taken back")
        inspect(page)
        asked = stage.next_letter(CAROL, page.get_by_role("button", name="Ask the sender again").click)
        assert asked["Subject"] == "A recipient asks to read your message again"
        expect(page.get_by_text("You asked for it on")).to_be_visible()
        inspect(page)
        page.get_by_role("link", name="Back to your messages").click()
        expect(page.locator(".inbox li").first).to_contain_text("A message you can't read any more")
        expect(page.locator(".inbox li").first).to_contain_text("Taken back")
        inspect(page)
        page.goto(link)
        expect(page.locator("h1")).to_have_text("This message was taken back")
        inspect(page)


def tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until `wanted` has the focus; each stop on the way is seen, by outline and halo."""
    for _ in range(25):
        page.keyboard.press("Tab")
        until(lambda: page.evaluate("document.activeElement !== document.body") or None, "the focus")
        stop = page.evaluate(FOCUS)
        if stop["what"] == "IFRAME":
            stop = page.frames[1].evaluate(FOCUS)
        assert stop["shown"], stop
        assert stop["style"] == "solid", stop
        assert stop["width"] >= 2, stop
        assert stop["halo"] != "none", stop
        if wanted in stop["what"]:
            return
    raise AssertionError(f"Tab never came to {wanted}")


def test_keyboard_alone_signs_in_and_opens_an_attachment(chromium: Browser, stage: Stage) -> None:
    """Tab and Enter are enough, the focus is always seen, and the skip link comes first."""
    link = find(LINK, stage.announce())
    with person(chromium, stage) as (context, _):
        page = context.new_page()
        page.goto(link)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.wait_for_url("**#main")
        tab_to(page, "Send me a code")
        mail = stage.next_letter(ALICE, lambda: page.keyboard.press("Enter"))
        expect(page.get_by_label("Code", exact=True)).to_be_focused()
        page.keyboard.type(find(CODE, words(mail)))
        page.keyboard.press("Enter")
        expect(page.locator(".subject")).to_have_text(SUBJECT)
        tab_to(page, "Blood results 17 November.pdf")
        _, content = downloaded(page, lambda: page.keyboard.press("Enter"))
        assert content == REPORT.read_bytes()


def test_pages_are_light_for_a_browser_that_has_nothing_yet(chromium: Browser, stage: Stage) -> None:
    """Sign-in pages 20 KB, inbox 25 KB, message 12 KB beside the mail, 4 requests (the icon is kept by browsers)."""
    link = find(LINK, stage.announce())
    with person(chromium, stage) as (context, _):
        page = context.new_page()
        sign_in(page, stage, link)
        cookies, message = context.cookies(), page.url
    for address, most_bytes in (
        (stage.portal, 20_000), (link, 20_000), (f"{stage.portal}/inbox", 25_000), (message, 12_000),
    ):  # fmt: skip
        with person(chromium, stage) as (context, watch):
            context.add_cookies(cookies)  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(address)
            page.wait_for_load_state("networkidle")
            asked = [one for one in watch.asked if "favicon" not in one.url and not one.url.startswith("data:")]
            sizes = {one.url: one.sizes()["responseBodySize"] for one in asked if one.response()}
        assert len(asked) <= 4, sizes
        assert sum(size for url, size in sizes.items() if not url.endswith("/body")) <= most_bytes, sizes
        assert next(size for url, size in sizes.items() if ".css" in url) <= 4096


def test_wrong_way_is_never_a_dead_end(chromium: Browser, stage: Stage) -> None:
    """Nobody's link, nobody's message and the help page: each is sound, and leads on."""
    with person(chromium, stage) as (context, _):
        page = context.new_page()
        for path, heading in (
            ("/m/unknown", "There is nothing for you here"),
            ("/messages/unknown", "Sign in to see this"),
            ("/nowhere", "There is nothing for you here"),
            ("/help", "Help"),
        ):
            page.goto(f"{stage.portal}{path}")
            expect(page.locator("h1")).to_have_text(heading)
            inspect(page)
            page.get_by_role("link", name="Español").click()
            assert page.get_attribute("html", "lang") == "es"
            page.get_by_role("link", name="English").click()
