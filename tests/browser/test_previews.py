"""Attachments that the browser itself shows: each in a tab of its own, harmless, and a PDF's own acts reach nobody."""

from email.message import EmailMessage
from email.utils import make_msgid

from playwright.sync_api import Browser, Page, expect

from tests.browser.engine import leave
from tests.browser.stage import AGENT, ALICE, CODE, LINK, WIDE, Stage, find, until, words
from tests.browser.test_hostile_mail import Canary
from tests.story.test_content import PNG


def pdf(act: str) -> bytes:
    """A page that says so, with an act for its opening."""
    says = b"BT /F1 24 Tf 40 100 Td (Your results) Tj ET"
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R /OpenAction {act} >>".encode(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(says), says),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    made, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + table + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(made)


def mail(canary: Canary) -> EmailMessage:
    there = f"http://127.0.0.1:{canary.port}"
    script = f"app.launchURL('{there}/launch', true); this.submitForm('{there}/submit'); this.getURL('{there}/get');"
    files = [
        ("scan.png", "image/png", PNG),
        ("notes.txt", "text/plain", f"Grüße <script src={there}/text></script>".encode()),
        ("script.pdf", "application/pdf", pdf(f"<< /S /JavaScript /JS ({script}) >>")),
        ("link.pdf", "application/pdf", pdf(f"<< /S /URI /URI ({there}/uri) >>")),
        ("page.html", "text/html", b"<script>document.title='ran'</script>"),
    ]
    made = EmailMessage()
    made["From"], made["Subject"] = "Carol Reyes <carol@clinic.example>", "Files"
    made["Message-ID"] = make_msgid(domain="clinic.example")
    made.set_content("Text.")
    for name, kind, content in files:
        main, _, sub = kind.partition("/")
        made.add_attachment(content, maintype=main, subtype=sub, filename=name)
    return made


def looked_at(page: Page, name: str) -> Page:
    with page.context.expect_page() as other:
        page.locator("li", has_text=name).get_by_role("link", name="Look at it").click()
    return other.value


def test_pictures_text_and_pdf_are_shown_and_can_do_nothing(chromium: Browser, stage: Stage) -> None:
    """In the browser's own viewers under a sandbox; no script of ours or theirs runs, and the PDF's acts send no request."""
    canary = Canary()
    context = chromium.new_context(viewport=WIDE, user_agent=AGENT)  # type: ignore[arg-type]
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("dialog", lambda dialog: dialog.dismiss())
    page = context.new_page()
    page.goto(find(LINK, stage.announce(mail(canary))))
    letter = stage.next_letter(ALICE, page.get_by_role("button", name="Send me a code").click)
    page.get_by_label("Code", exact=True).fill(find(CODE, words(letter)))
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".subject")).to_have_text("Files")
    expect(page.get_by_role("link", name="Look at it")).to_have_count(4)
    picture = looked_at(page, "scan.png")
    assert picture.evaluate("[document.images.length, document.images[0].naturalWidth, origin]") == [1, 1, "null"]
    text = looked_at(page, "notes.txt")
    assert "Grüße <script" in str(text.evaluate("document.body.innerText"))
    assert text.evaluate("[document.scripts.length, origin]") == [0, "null"]
    for name in ("script.pdf", "link.pdf"):
        shown = looked_at(page, name)
        until(lambda tab=shown: _viewer(tab), f"the viewer of {name}")  # type: ignore[misc]
        shown.wait_for_timeout(1500)
        assert shown.url.endswith("/view")
    assert [
        url for url in asked if not url.startswith((stage.portal, "chrome-extension://", "data:", "blob:", "chrome://"))
    ] == []
    assert canary.calls == []
    assert len(context.pages) == 5
    leave(context)
    canary.close()


def _viewer(tab: Page) -> bool | None:
    """The browser's own page that draws a PDF has loaded in the tab."""
    tab.wait_for_timeout(50)
    return any(frame.url.startswith("chrome-extension://") for frame in tab.frames) or None
