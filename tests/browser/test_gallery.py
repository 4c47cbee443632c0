"""What a browser makes of every recipient page: reachable, readable, small, and quiet under the portal's own headers."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from markupsafe import Markup
from playwright.sync_api import Browser, ConsoleMessage, FilePayload, Page, Request, expect
from pypdf import PdfReader

from portal.web.templating import LANGUAGES, Pages, direction
from tests.browser import gallery as pictures
from tests.browser.engine import Engine, leave
from tests.browser.gallery import PAGES, Gallery, draw, draw_body, draw_print, served

NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1100, "height": 800}
FULLEST = ("front", "link", "code-error", "message-text", "inbox", "reply-error", "account", "step-up-sent")
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SMALL_TARGETS = """[...document.querySelectorAll('button, .button, nav a, summary, input:not([type=hidden]), .files a')]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 43.9).map(e => e.outerHTML.slice(0, 90))"""
FIRST_IS_LEFTMOST = """e => { const at = i => { const r = document.createRange(); r.setStart(e.firstChild, i);
  r.setEnd(e.firstChild, i + 1); return r.getBoundingClientRect().left; };
  return [...e.textContent].every((_, i) => !i || at(i) > at(i - 1)); }"""
CONTRAST = """() => { const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = v => { c.fillStyle = v; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)
    .map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [.2126, .7152, .0722][i], 0); };
  const of = name => light(getComputedStyle(document.documentElement).getPropertyValue('--' + name));
  return (a, b) => { const [x, y] = [of(a), of(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); } }"""
BODY_TEXT = [("ink", "paper"), ("ink", "sheet"), ("ink", "mist"), ("ink", "heed-bg"), ("quiet", "paper"), ("quiet", "sheet"),
             ("quiet", "mist"), ("link", "paper"), ("link", "sheet"), ("on", "pine"), ("wrong", "wrong-bg"),
             ("wrong", "sheet")]  # fmt: skip
SIGNS = [("clay", "sheet"), ("pine", "sheet"), ("heed", "heed-bg"), ("ring", "halo")]


@pytest.fixture(scope="module")
def site() -> Iterator[Gallery]:
    with served() as running:
        yield running


@pytest.fixture
def tab(engine: Engine) -> Page:
    """One page for all, at the width of a desk."""
    page = engine.page()
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    return page


def settled(tab: Page) -> None:
    """Each framed message has told its height; those further down load when they are looked at."""
    for frame in tab.query_selector_all("iframe.mail"):
        frame.scroll_into_view_if_needed()
        tab.wait_for_function("frame => frame.style.height", arg=frame)


def chosen(name: str) -> FilePayload:
    """A file of 2,000 bytes, as picked by a person."""
    return {"name": name, "mimeType": "text/plain", "buffer": b"x" * 2000}


@pytest.mark.parametrize("name", PAGES)
def test_page_keeps_the_house_rules(site: Gallery, tab: Page, name: str) -> None:
    """One h1, which opens the title; no axe finding in light or dark; nothing refused by the CSP; no sideways scroll at 320 px."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        said.append(message.text)

    tab.on("console", hear)
    findings: list[str] = []
    for theme, lang, size in (("light", "en", WIDE), ("dark", "es", NARROW)):
        tab.set_viewport_size(size)  # type: ignore[arg-type]
        tab.goto(f"{site.url}/{name}?lang={lang}&theme={theme}")
        settled(tab)
        assert tab.locator("h1").count() == 1
        opening = ("Error: " if PAGES[name].context.get("error") else "") + tab.locator("h1").inner_text()
        assert tab.title().startswith(f"{opening} - ")
        assert tab.evaluate(OVERFLOW) == 0
        assert tab.evaluate(SMALL_TARGETS) == []
        result: dict[str, Any] = Axe().run(tab, options=AXE).response
        findings += [f"{theme} {v['id']}: {v['nodes'][0]['html']}" for v in result["violations"]]
    tab.remove_listener("console", hear)
    assert findings == []
    assert said == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_contrast(site: Gallery, tab: Page, theme: str) -> None:
    """7:1 for text and 4.5:1 for signs, in both schemes."""
    tab.goto(f"{site.url}/help?theme={theme}")
    pairs = [*BODY_TEXT, *SIGNS]
    ratios: list[float] = tab.evaluate(
        f"pairs => {{ const of = ({CONTRAST})(); return pairs.map(p => of(...p)); }}", pairs
    )
    low = [
        (pair, round(ratio, 2))
        for pair, ratio in zip(pairs, ratios, strict=True)
        if ratio < (7 if pair in BODY_TEXT else 4.5)
    ]
    assert low == []


def test_system_preference_is_followed_and_overruled(site: Gallery, chromium: Browser) -> None:
    """Dark by the device's preference, unless the person switched to light."""
    context = chromium.new_context(color_scheme="dark")
    tab = context.new_page()
    seen = {}
    for theme in ("", "light"):
        tab.goto(f"{site.url}/help?theme={theme}")
        seen[theme] = tab.evaluate("getComputedStyle(document.documentElement).colorScheme")
    leave(context)
    assert seen == {"": "dark", "light": "light"}


def test_dark_page_prints_dark_on_white(site: Gallery, tab: Page) -> None:
    """Printers leave backgrounds out: light text would be lost on paper."""
    tab.emulate_media(media="print")
    tab.goto(f"{site.url}/message-text?theme=dark")
    ink = tab.evaluate("getComputedStyle(document.body).color")
    tab.emulate_media(media="screen")
    assert ink == "rgb(23, 40, 44)"


def test_right_to_left_page_fits(site: Gallery, tab: Page) -> None:
    """Mirrored, nothing sticks out or becomes too small to touch, and digits in groups keep their order."""
    tab.set_viewport_size(NARROW)  # type: ignore[arg-type]
    for name in (*FULLEST, "code-help", "message", "app", "recovery-codes", "help"):
        tab.goto(f"{site.url}/{name}?lang=ar")
        assert tab.evaluate(OVERFLOW) == 0, name
        assert tab.evaluate(SMALL_TARGETS) == [], name
    tab.goto(f"{site.url}/code-error?lang=ar")
    assert tab.locator("input[name=code]").evaluate("e => getComputedStyle(e).direction") == "ltr"
    assert tab.locator("address a bdi").evaluate(FIRST_IS_LEFTMOST)


@pytest.mark.parametrize("lang", [lang for lang in LANGUAGES if lang not in ("en", "es", "ar")])
def test_page_fits_in_every_language(site: Gallery, tab: Page, lang: str) -> None:
    """Long words and every language's name fit at 320 px, where most is written."""
    tab.set_viewport_size(NARROW)  # type: ignore[arg-type]
    for name in FULLEST:
        tab.goto(f"{site.url}/{name}?lang={lang}")
        assert tab.evaluate(OVERFLOW) == 0, name
        assert tab.evaluate(SMALL_TARGETS) == [], name


def test_error_summary_has_the_focus_and_leads_to_the_field(site: Gallery, tab: Page) -> None:
    """The first thing heard is what went wrong; its link goes to the field, which keeps what was typed."""
    tab.goto(f"{site.url}/code-error")
    expect(tab.locator(".errors")).to_be_focused()
    tab.click(".errors a")
    field = tab.locator("input[name=code]")
    expect(field).to_be_focused()
    expect(field).to_have_value("1234 567")
    assert tab.title().startswith("Error:")


def test_message_frame_grows_to_its_content(site: Gallery, tab: Page) -> None:
    """A long message scrolls in the page, not in a box."""
    tab.set_viewport_size(WIDE)  # type: ignore[arg-type]
    tab.goto(f"{site.url}/message")
    settled(tab)
    frame = tab.frames[1]
    assert frame.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert tab.locator("iframe.mail").bounding_box()["height"] != 640  # type: ignore[index]


def test_earlier_messages_unfold_and_the_frame_grows(site: Gallery, tab: Page, chromium: Browser) -> None:
    """A touch or a key shows them in the frame, which makes room; without a script they open too."""
    tab.set_viewport_size(WIDE)  # type: ignore[arg-type]
    tab.goto(f"{site.url}/message")
    settled(tab)
    before = tab.locator("iframe.mail").bounding_box()
    assert before
    earlier = tab.frame_locator("iframe.mail").get_by_text("Earlier.")
    expect(earlier).to_be_hidden()
    tab.frame_locator("iframe.mail").locator("summary").press("Enter")
    expect(earlier).to_be_visible()
    tab.wait_for_function(
        "h => document.querySelector('iframe.mail').getBoundingClientRect().height > h", arg=before["height"]
    )
    context = chromium.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(f"{site.url}/message-text")
    plain.get_by_text("Show earlier messages").click()
    expect(plain.get_by_text("When is my appointment?")).to_be_visible()
    leave(context)


def test_message_below_the_fold_grows_too(site: Gallery, tab: Page) -> None:
    """Browsers hold back frames that are out of sight; the height is told all the same, and again at another width."""
    tab.set_viewport_size({"width": 320, "height": 200})
    for _again in range(3):
        tab.goto(f"{site.url}/message?lang=es")
        settled(tab)
    narrow = tab.locator("iframe.mail").bounding_box()
    tab.set_viewport_size(WIDE)  # type: ignore[arg-type]
    tab.wait_for_timeout(300)
    wide = tab.locator("iframe.mail").bounding_box()
    assert narrow
    assert wide
    assert narrow["height"] > 640 > wide["height"]


def test_frame_hears_only_its_own_document(site: Gallery, tab: Page) -> None:
    """Another window, or a number that is none, changes nothing."""
    tab.goto(f"{site.url}/message")
    settled(tab)
    before = tab.evaluate("document.querySelector('iframe.mail').style.height")
    tab.evaluate("postMessage(5000, '*')")
    tab.frames[1].evaluate("for (const odd of ['900', NaN, -5, {height: 7}, Infinity]) parent.postMessage(odd, '*')")
    tab.wait_for_timeout(100)
    assert tab.evaluate("document.querySelector('iframe.mail').style.height") == before


def test_reading_needs_no_javascript(site: Gallery, chromium: Browser) -> None:
    """Without scripts the message is there, in a frame of a comfortable height, with a link to its own page."""
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 1100, "height": 800})
    tab = context.new_page()
    tab.goto(f"{site.url}/message")
    box = tab.locator("iframe.mail").bounding_box()
    own_page = tab.get_by_role("link", name="Open the message on its own page").get_attribute("href")
    text = tab.frame_locator("iframe.mail").locator("body").inner_text()
    leave(context)
    assert box
    assert box["height"] == 640
    assert own_page == "/framed"
    assert "Your blood results are back" in text


def test_uploads_go_side_by_side_and_on_where_they_stopped(site: Gallery, tab: Page) -> None:
    """Three at a time, as raw bodies with the token; one whose connection breaks goes on from there; each bar is named by its file;
    the form then carries text and draft only, and a file can be taken away again."""
    site.uploads.clear()
    tab.goto(f"{site.url}/reply")
    tab.fill("textarea", "Thank you, doctor.")
    names = ["one.txt", "broken.txt", "three (3)'* – 血液.txt", "four.txt", "refused.txt"]
    tab.set_input_files("#files", [chosen(name) for name in names])
    rows = tab.locator("#uploads > li")
    expect(tab.get_by_role("progressbar", name="Amount sent broken.txt")).to_have_count(1)
    rows.nth(1).get_by_text("Going on as soon as it is back").wait_for()
    for number in (0, 1, 2, 3):
        rows.nth(number).get_by_text("Attached, 2 KB").wait_for()
    rows.nth(4).get_by_text("Too large").wait_for()
    sent = {one.name: one for one in site.uploads}
    assert set(sent) == set(names)
    assert {(one.size, one.token) for one in sent.values()} == {(2000, "t0ken")}
    assert [one.here for name, one in sent.items() if name != "refused.txt"] == [2000] * 4
    assert (sent["broken.txt"].offsets, sent["one.txt"].offsets) == ([0, 666], [0])
    assert 1 < site.most_at_once <= 3
    tab.click("button[data-send]")
    assert "was not attached" in tab.locator("#upload-news").inner_text()
    assert tab.input_value("textarea") == "Thank you, doctor."
    site.removed.clear()
    rows.nth(4).get_by_role("button", name="Remove refused.txt").click()
    rows.nth(3).get_by_role("button", name="Remove four.txt").click()
    expect(rows).to_have_count(3)
    assert site.removed == [f"/upload/{1 + site.uploads.index(sent['four.txt'])}"]
    with tab.expect_navigation():
        tab.click("button[data-send]")
    assert "Thank you, doctor." in site.posted[-1]
    assert 'name="act"\r\n\r\nsend' in site.posted[-1]
    assert "filename" not in site.posted[-1]


def test_a_file_that_the_virus_scanner_refused_says_so(site: Gallery, tab: Page) -> None:
    """Beside the file, which can only be taken away; the text and the other files stay."""
    tab.goto(f"{site.url}/reply")
    tab.fill("textarea", "Thank you, doctor.")
    tab.set_input_files("#files", [chosen(name) for name in ("infected.txt", "one.txt")])
    rows = tab.locator("#uploads > li")
    rows.nth(1).get_by_text("Attached, 2 KB").wait_for()
    assert "virus scanner found something" in rows.nth(0).get_by_role("alert").inner_text()
    expect(rows.nth(0).locator("[data-again]")).to_be_hidden()
    rows.nth(0).get_by_role("button", name="Remove infected.txt").click()
    expect(rows).to_have_count(1)
    assert tab.input_value("textarea") == "Thank you, doctor."


def field(body: str, name: str) -> str:
    return body.split(f'name="{name}"\r\n\r\n')[1].split("\r\n")[0]


def test_what_is_typed_is_saved_meanwhile(site: Gallery, tab: Page) -> None:
    """A pause saves, politely said; a lost answer is not another window's change; a real one makes a reply of its own; sending knows
    the version that is kept."""
    tab.goto("about:blank")  # a page that is left saves what was typed in it
    tab.wait_for_timeout(200)
    site.saved.clear()
    tab.goto(f"{site.url}/reply")
    tab.wait_for_timeout(200)
    assert site.saved == []  # nothing typed, nothing saved
    tab.fill("textarea", "One")
    news = tab.locator("#save-news[role=status]")
    expect(news).to_contain_text("Saved at")
    path, first = site.saved[-1]
    assert (path, field(first, "text"), field(first, "version"), field(first, "csrf")) == ("/draft", "One", "", "t0ken")
    assert "filename" not in first
    site.save_statuses[:] = [500]
    tab.fill("textarea", "One two")
    expect(news).to_contain_text("It is still here")
    tab.fill("textarea", "One two three")
    expect(news).to_contain_text("Saved at")
    lost, third = site.saved[-2][1], site.saved[-1][1]
    assert field(lost, "version") == field(first, "next")
    assert field(third, "version").split() == [field(first, "next"), field(lost, "next")]
    site.save_statuses[:] = [409]
    tab.fill("textarea", "From here")
    expect(news).to_contain_text("goes on as a reply of its own")
    expect(news).to_contain_text("Saved at")
    path, own = site.saved[-1]
    assert path != "/draft"
    assert (field(own, "draft"), field(own, "text"), field(own, "version")) == (path[1:], "From here", "")
    site.save_statuses[:] = [410]
    tab.get_by_label("Show **bold**").check()
    expect(news).to_contain_text("can no longer be answered")
    count = len(site.saved)
    tab.fill("textarea", "Kept in the page")
    tab.wait_for_timeout(2000)
    assert len(site.saved) == count
    with tab.expect_navigation():
        tab.click("button[data-send]")
    assert field(site.posted[-1], "text") == "Kept in the page"
    assert field(site.posted[-1], "version").split()[0] == field(own, "next")


def test_too_many_bytes_are_not_even_sent(site: Gallery, tab: Page) -> None:
    """A file over the limit is refused where it was chosen, with what to do."""
    tab.goto(f"{site.url}/reply")
    tab.evaluate("document.getElementById('reply').dataset.mostBytes = 1000")
    sent = len(site.uploads)
    tab.set_input_files("#files", [chosen("big.txt")])
    assert "all files together can have 1 KB" in tab.get_by_role("alert").inner_text()
    assert len(site.uploads) == sent


def test_reply_needs_no_javascript(site: Gallery, chromium: Browser) -> None:
    """Without scripts the same form carries the files itself."""
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site.url}/reply")
    tab.fill("textarea", "Thank you.")
    tab.set_input_files("#files", [chosen("card.txt")])
    tab.click("button[data-send]")
    leave(context)
    assert 'name="files"; filename="card.txt"' in site.posted[-1]


def test_message_is_made_easy_to_read_in_its_place(site: Gallery, chromium: Browser) -> None:
    """Without JavaScript, in the dark, on a narrow screen: the frame shows it large, on a dark ground, and lets it be undone."""
    context = chromium.new_context(java_script_enabled=False, viewport=NARROW, color_scheme="dark")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{site.url}/message")
    frame = page.frame(name="letter")
    assert frame is not None
    page.get_by_role("link", name="Make it easy to read").click()
    frame.wait_for_url("**/framed?view=easy")
    assert page.url == f"{site.url}/message"
    page.get_by_role("link", name="Show it as it was sent").click()
    frame.wait_for_url("**/framed")
    leave(context)
    context = chromium.new_context(viewport=NARROW, color_scheme="dark")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{site.url}/framed?view=easy")
    assert page.evaluate(OVERFLOW) == 0
    look = page.evaluate(
        "getComputedStyle(document.querySelector('td, p')).fontSize + matchMedia('(prefers-color-scheme: dark)').matches"
    )
    assert look == "20.8pxtrue"
    found = Axe().run(page, options=AXE).response["violations"]
    assert [one["id"] for one in found if one["id"] == "color-contrast"] == []
    leave(context)


@pytest.mark.parametrize(("name", "most_bytes"), [("front", 20_000), ("link", 20_000), ("code", 20_000), ("code-help", 20_000),
                                                   ("inbox", 25_000), ("message", 12_000)])  # fmt: skip
def test_page_is_light(site: Gallery, tab: Page, name: str, most_bytes: int) -> None:
    """At most 4 requests beside the icon, which browsers keep; what travels of style and script counted, the mail itself not."""
    asked: list[Request] = []

    def note(request: Request) -> None:
        if "favicon" not in request.url:
            asked.append(request)

    tab.on("request", note)
    tab.goto(f"{site.url}/{name}")
    tab.wait_for_load_state("networkidle")
    tab.remove_listener("request", note)
    size = sum(request.sizes()["responseBodySize"] for request in asked if not request.url.endswith("/framed"))
    assert len(asked) <= 4
    assert all(request.url.startswith(site.url) for request in asked)
    assert size <= most_bytes


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_each_page_of_paper_says_whose_it_is(site: Gallery, tab: Page, lang: str) -> None:
    """Organisation, sender, day, host and number stand on every page; attachments and replies come last."""
    long = Markup(f"{pictures.HTML}<table><tr><td>{'<p>A line of a long letter.</p>' * 60}</td></tr></table>")
    tab.goto("about:blank")
    tab.emulate_media(media="print")
    tab.set_content(draw_print(site.pages, lang, html=long))
    pages = [page.extract_text() for page in PdfReader(BytesIO(tab.pdf(format="A4"))).pages]
    assert len(pages) > 2
    for number, text in enumerate(pages, 1):
        for said in (
            "Northside Clinic",
            "carol@clinic.example",
            "alice@patients.example",
            "2026",
            "portal.clinic.example",
        ):
            assert said in text, (number, said)
        assert str(number) in text.split("\n")[0]
    assert sum(text.count("A line of a long letter.") for text in pages) == 60
    assert "I will book for February." in pages[-1]
    assert "Blood results 17 November.pdf" in pages[-1]
    assert "Ctrl+P" not in pages[0]
    tab.emulate_media(media="screen")
    tab.set_viewport_size(NARROW)  # type: ignore[arg-type]
    tab.set_content(draw_print(site.pages, lang))
    assert tab.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("lang", LANGUAGES)
def test_print_page_and_framed_message_are_whole(lang: str) -> None:
    """Paper names the clinic, the hour and the host; both carry the sanitised mail as it is."""
    pages = Pages("https://portal.clinic.example", now=lambda: pictures.NOW)
    paper = draw_print(pages, lang)
    assert str(pictures.HTML) in paper
    assert "<script" not in paper
    assert "portal.clinic.example" in paper
    assert "Bring your list of medicines." in draw_print(pages, lang, html=None)
    assert str(pictures.HTML) in draw_body(pages, lang)


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", PAGES)
def test_page_is_drawn_in_every_language(site: Gallery, name: str, lang: str) -> None:
    """No template asks for a name that its context does not hold."""
    assert f'<html lang="{lang}" dir="{direction(lang)}">' in draw(site.pages, name, lang)
