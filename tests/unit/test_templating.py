"""Pages and letters: how they are put into words, and what they refuse."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace as Thing

import pytest
from jinja2 import UndefinedError

from portal import paths
from portal.web import sentences
from portal.web.languages import catalogue
from portal.web.templating import LANGUAGES, Letters, Pages, body_script_hash, choose, direction

NOW = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
CLINIC = Thing(
    name="Northside <Clinic> & Sons", address="14 Harbour Lane, Northside", phone="+1 555 0100", look="", host=""
)
LETTER = {
    "org": CLINIC, "link": "https://portal.clinic.example/m/" + "a" * 43, "host": "portal.clinic.example",
    "reference": "K7QF-3MPD-9T", "front_url": "https://portal.clinic.example/", "expires_at": NOW, "code": "12345678",
    "code_reference": "QK7", "minutes": 10, "message_ref": "0198-77", "sent_at": NOW,
    "hidden_recipient": "a•••e@patients.example", "reason": "550 5.1.1 no such user",
    "words": "Questions? Northside answers.", "console_url": "https://portal.clinic.example/staff",
    "lines": [{"what": "opened", "at": NOW, "ref": "0198-77", "recipient": "a•••e@patients.example"}],
}  # fmt: skip
LETTERS = ["notice", "reminder", "code", "asked", "undelivered", "expiring", "unread", "staff-code", "news"]


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages("https://portal.clinic.example", now=lambda: NOW)


@pytest.fixture(scope="module")
def letters() -> Letters:
    return Letters()


def said(pages: Pages, template: str, lang: str = "en", **context: object) -> str:
    environment = pages._environments[lang]
    given = {"lang": lang, "tz": "UTC", "now": NOW, **context}
    return environment.from_string("{{ " + template + " }}").render(given)


@pytest.mark.parametrize(
    ("asked", "chosen", "expected"),
    [
        (None, None, "en"),
        ("es-MX,es;q=0.9,en;q=0.8", None, "es"),
        ("fr, en;q=0.5, es;q=0.7", None, "es"),
        ("es;q=0, en", None, "en"),
        ("es", "en", "en"),
        ("es", "klingon", "es"),
        ("fil-PH, en;q=0.5", None, "tl"),
        ("ru-UA, ar;q=0.9", None, "ru"),
        ("zh-Hans-CN, en", None, "zh"),
        ("zh-CN", None, "zh"),
        ("*;q=0.5, ;;;, es;q=nonsense, \x00", None, "en"),
        ("x," * 5000 + "es", None, "en"),
    ],
)
def test_language_is_chosen(asked: str | None, chosen: str | None, expected: str) -> None:
    """The person's choice wins, then the browser's preference, then English; nonsense is passed over."""
    assert choose(asked, chosen) == expected


def test_every_language_knows_its_direction() -> None:
    """The dir attribute comes from the language."""
    assert {lang for lang in LANGUAGES if direction(lang) == "rtl"} == {"ar"}
    assert direction("en") == "ltr"


def test_moments_are_said_in_the_page_language_and_zone(pages: Pages) -> None:
    """UTC is named; another zone is the reader's own and needs no name."""
    assert said(pages, "at | datetime", at=NOW) == "21 November 2026, 10:42 UTC"
    assert said(pages, "at | datetime", "es", at=NOW) == "21 de noviembre de 2026, 10:42 UTC"
    assert said(pages, "at | datetime", at=NOW, tz="America/New_York") == "21 November 2026, 05:42"
    assert said(pages, "at | date", "tl", at=NOW) == "Nobyembre 21, 2026"
    assert said(pages, "at | datetime", "ar", at=NOW) == "21 نوفمبر 2026، 10:42 UTC"
    assert said(pages, "at | date", at=NOW.replace(hour=23), tz="Asia/Tokyo") == "22 November 2026"
    assert said(pages, "at | clock_time", at=NOW) == "10:42 UTC"


def test_moment_without_zone_is_refused(pages: Pages) -> None:
    """A naive datetime would be shown at the wrong hour."""
    with pytest.raises(ValueError, match="without a time zone"):
        said(pages, "at | date", at=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("size", "english", "spanish"),
    [
        (0, "0 bytes", "0 bytes"),
        (999, "999 bytes", "999 bytes"),
        (1_000, "1 KB", "1 KB"),
        (1_204_000, "1.2 MB", "1,2 MB"),
        (9_960_000, "10 MB", "10 MB"),
        (999_600, "1 MB", "1 MB"),
        (25_000_000, "25 MB", "25 MB"),
        (3_000_000_000_000, "3000 GB", "3000 GB"),
    ],
)
def test_sizes_are_said(pages: Pages, size: int, english: str, spanish: str) -> None:
    """Sizes read as file managers show them, with the language's decimal sign."""
    assert said(pages, "size | filesize", size=size) == english
    assert said(pages, "size | filesize", "es", size=size) == spanish


@pytest.mark.parametrize(
    ("hours", "english", "spanish"),
    [
        (-30, "last day", "último día"),
        (2, "last day", "último día"),
        (24, "1 day left", "queda 1 día"),
        (340, "14 days left", "quedan 14 días"),
    ],
)
def test_days_left_are_calm(pages: Pages, hours: int, english: str, spanish: str) -> None:
    """Days, never hours: nobody is hurried."""
    until = NOW + timedelta(hours=hours)
    assert said(pages, "until | day_left", until=until) == english
    assert said(pages, "until | day_left", "es", until=until) == spanish


def test_size_is_kept_together_between_arabic_words(pages: Pages) -> None:
    """Otherwise "1.2 MB" would be shown as "MB 1.2"."""
    assert said(pages, "size | filesize", "ar", size=1_204_000) == "\u20661.2 MB\u2069"


def test_kinds_of_file_are_words(pages: Pages) -> None:
    """A patient reads "Picture", not image/png."""
    assert said(pages, "'image/png' | kind", "es") == "Imagen"
    assert said(pages, "'application/x-made-up' | kind") == "File"


def test_static_files_carry_their_version(pages: Pages) -> None:
    """The address changes when the file does; a file that is not there is an error."""
    content = (paths.static() / "css" / "portal.css").read_bytes()
    version = hashlib.sha256(content).hexdigest()[:8]
    assert said(pages, "'css/portal.css' | static") == f"/static/css/portal.css?v={version}"
    with pytest.raises(KeyError):
        said(pages, "'css/missing.css' | static")


def test_stylesheet_is_small() -> None:
    """At most 8 KB, uncompressed."""
    assert (paths.static() / "css" / "portal.css").stat().st_size <= 8192


def test_forgotten_name_is_an_error(pages: Pages) -> None:
    """A template that gets less than it asks for fails instead of showing a gap."""
    with pytest.raises(UndefinedError):
        pages.render("recipient/front.html", "en", {})


def test_page_escapes_what_strangers_wrote(pages: Pages) -> None:
    """Markup in a name stays text."""
    page = pages.render("recipient/signed_out.html", "en", {
        "dir": "ltr", "theme": "", "org": CLINIC, "signed_in": False, "csrf": "", "here": "", "languages": LANGUAGES,
    })  # fmt: skip
    assert "Northside &lt;Clinic&gt; &amp; Sons" in page
    assert "<Clinic>" not in page


def test_body_script_is_the_one_that_was_hashed(pages: Pages) -> None:
    """The page carries exactly the script whose hash the header names, or none."""
    context = {"html": "<p>Hello", "subject": "Hello", "easy": False}
    with_script = pages.render("recipient/body.html", "en", {**context, "script": True})
    script = re.search(r"<script>(.*?)</script>", with_script, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert body_script_hash() == f"sha256-{digest}"
    assert "<script" not in pages.render("recipient/body.html", "en", {**context, "script": False})


def test_no_page_has_inline_script_or_style() -> None:
    """Only the framed message and its print carry a style of their own, under a policy of their own."""
    for file in (paths.templates() / "recipient").glob("*.html"):
        if file.name not in ("body.html", "print.html"):
            assert not re.search(r"<style|style=|<script(?! type=\"module\" src=)|\son\w+=", file.read_text()), (
                file.name
            )


def test_sentences_are_said_in_the_page_language(pages: Pages) -> None:
    """What routes say comes from the same catalogue."""
    assert "la referencia QK7." in pages.say(sentences.CODE_WRONG, "es", reference="QK7")
    assert pages.say(sentences.REPLY_EMPTY, "en") == sentences.REPLY_EMPTY


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("name", LETTERS)
def test_letter_says_the_same_twice(letters: Letters, name: str, lang: str) -> None:
    """One-line subject, wrapped text with nothing escaped, HTML with everything escaped and nothing fetched."""
    letter = letters.render(name, lang, LETTER)
    assert letter.subject
    assert "\n" not in letter.subject
    assert CLINIC.name in letter.text
    assert "Northside &lt;Clinic&gt; &amp; Sons" in letter.html
    assert not re.search(r"<img|<link|<script|src=|url\(", letter.html)
    assert all(len(line) <= 72 for line in letter.text.splitlines() if "https://" not in line)


@pytest.mark.parametrize("name", ["notice", "reminder"])
def test_notice_can_be_followed_without_clicking(letters: Letters, name: str) -> None:
    """One link, shown as what it is; the reference and the front page; the host to compare."""
    letter = letters.render(name, "en", LETTER)
    assert re.findall(r'href="([^"]+)"', letter.html) == [LETTER["link"]]
    assert f">{LETTER['link']}</a>" in letter.html
    for part in (LETTER["link"], "K7QF-3MPD-9T", "https://portal.clinic.example/", "+1 555 0100"):
        assert str(part) in letter.text


def test_code_is_grouped(letters: Letters) -> None:
    """Eight digits in two groups, and not in the subject, which shows on locked phones."""
    letter = letters.render("code", "en", LETTER)
    assert "1234 5678" in letter.text
    assert "1234 5678" in letter.html
    assert "1234" not in letter.subject


def test_subject_stays_one_line(letters: Letters) -> None:
    """A line break in an organisation's name adds no header."""
    org = Thing(name="Northside\r\nBcc: mallory@attacker.example", address="", phone="")
    assert "\r" not in letters.render("notice", "en", {**LETTER, "org": org}).subject
    assert "\n" not in letters.render("notice", "en", {**LETTER, "org": org}).subject


def test_english_needs_no_catalogue() -> None:
    """The language of the source says its own sentences."""
    assert catalogue("en").gettext("Continue") == "Continue"


def test_folders_of_a_checkout_are_found() -> None:
    """Without portal/_data the checkout's own folders are used."""
    assert (paths.templates() / "_shared" / "base.html").is_file()
    assert (paths.static() / "css" / "portal.css").is_file()
    assert (paths.locale() / "portal.pot").is_file()
    assert paths.migrations().name == "migrations"


def test_folders_of_an_installed_wheel_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the wheel carries under portal/_data is used, whatever lies beside the package."""
    package = tmp_path / "portal"
    (package / "_data" / "templates").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert paths.templates() == package / "_data" / "templates"
    assert paths.static() == tmp_path / "static"
