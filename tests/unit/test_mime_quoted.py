"""Earlier messages that an answer quotes: found where mail programs put them, and left open in any doubt."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime import VERSION, Rendition
from portal.mime.clean import Cleaner
from portal.mime.heading import heading_of
from portal.mime.parse import parse
from portal.mime.quoted import answers, quoted_html, quoted_text
from portal.mime.wire import dump, load

ON = "On Fri, Nov 20, 2026 at 10:42 AM Carol Reyes"
ADDRESS = "<carol@clinic.example>"
HEADER = "From: Carol Reyes <carol@clinic.example>\nSent: Friday\nTo: Alice\nSubject: Results\n\nold words"
BOLD = "<b>From:</b> Carol<br><b>Sent:</b> Friday<br><b>To:</b> Alice<br><b>Subject:</b> Results"
ATTRIBUTION = "On Fri, 20 Nov 2026 Carol Reyes &lt;carol@clinic.example&gt; wrote:"

FOLDED = [
    ("Thanks!\n\n", f"{ON} {ADDRESS} wrote:\n> old\n> words\n"),
    ("Thanks!\n\n", f"{ON}\n{ADDRESS} wrote:\n\n> old\n\n> words\n\n"),
    ("Gracias.\n\n", "El vie, 20 nov 2026 a las 10:42, Carol (<carol@clinic.example>) escribió:\n> old\n"),
    ("Спасибо\n\n", f"пт, 20 нояб. 2026 г. в 10:42, Carol Reyes {ADDRESS}:\n> old"),
    ("Спасибо\n\n", f"20 ноября 2026 г., 10:42 Carol Reyes\n{ADDRESS} написал(а):\n> old"),
    ("您好\n\n", f"2026年11月20日 星期五，Carol {ADDRESS} 写道：\n> old\n"),
    ("Cảm ơn\n\n", f"Vào Th 6, 20 thg 11, 2026 vào lúc 10:42 Carol {ADDRESS} đã viết:\n> old\n"),
    ("Salamat\n", "> old\n> words"),
    ("Thanks!\n\n", HEADER + "\n> older"),
    ("Thanks!\n", "________________________________\n" + HEADER),
    ("Thanks!\n\n", "-----Original Message-----\n" + HEADER),
    (f"{ON} wrote:\n> old\nMy answer to this.\n", "> more that nobody answered\n"),
]
OPEN = [
    "No quote at all.\nOn Monday she wrote: yes.",
    "> all of it\n> is a quote",
    f"{ON} {ADDRESS} wrote:\n> all of it\n",
    "> question one\nanswer\n> question two\nanswer",
    f"Below.\n\n{ON} {ADDRESS} wrote:\n> question one\nanswer\n> question two\nanswer",
    f"For you\n\n---------- Forwarded message ---------\n{HEADER}",
    f"Für Sie\n\n-------- Weitergeleitete Nachricht --------\n{HEADER}",
    "Test: iron\nResult: 14\nRange: 10 to 20\n\nAll is well.",
    "", "\n\n", ">", "> ",
]  # fmt: skip
HTML_FOLDED = [  # as Gmail, Apple Mail, Thunderbird, Outlook, Outlook on the web and plain lines write it
    ("<div>New</div><br>", f'<div class="gmail_quote"><div>{ATTRIBUTION}<br></div><blockquote>old</blockquote></div>',
     ""),
    ("<div>New</div>", f'<div><br><blockquote type="cite"><div>{ATTRIBUTION}</div><br><div>old</div></blockquote></div>', "<br>"),
    ("<p>New</p>", '<div>On 20/11/2026 10:00, Carol Reyes wrote:<br></div><blockquote type="cite"><p>old</p></blockquote>', ""),
    ("<p>New</p>", f'<div><div style="border:none;border-top:solid #E1E1E1 1.0pt"><p>{BOLD}</p></div></div><p>old</p>', ""),
    ("<div>New</div>", f'<hr style="width:98%"><div id="divRplyFwdMsg"><font>{BOLD}</font></div><div>old</div>', ""),
    ("<p>Neu</p>", "<hr><p><b>Von:</b> Carol &lt;carol@clinic.example&gt;<br><b>Gesendet:</b> Freitag<br><b>An:</b> Alice</p>old", ""),
    ("New<br>", f"{ATTRIBUTION}<br><blockquote>old</blockquote>", ""),
]  # fmt: skip
HTML_OPEN = [
    "<p>Come on 30 November at 9:15:</p><blockquote>with this card</blockquote>",
    "<p>Your results</p><hr><p><b>Test:</b> iron<br><b>Result:</b> 14<br><b>Range:</b> 10 to 20</p>",
    f"<div>{ATTRIBUTION}</div><blockquote>all is a quote</blockquote>",
    f"<p>New</p><div>{ATTRIBUTION}</div><blockquote>question</blockquote><p>answer</p>",
    f"<p>New</p><hr><p>{BOLD.replace('From', 'Iron')}</p>",
    f"<table><tr><td>New</td></tr><tr><td>{ATTRIBUTION}<blockquote>old</blockquote></td></tr></table>",
    "<blockquote>a poem</blockquote>",
    "",
]


@pytest.mark.parametrize(("fresh", "quoted"), FOLDED)
def test_quoted_text_begins_where_it_is_introduced(fresh: str, quoted: str) -> None:
    """By the words of mail programs or by marks; in a language that nobody listed, by marks alone."""
    assert quoted_text(fresh + quoted) == len(fresh)


@pytest.mark.parametrize("text", OPEN)
def test_text_in_doubt_stays_open(text: str) -> None:
    """Answers among the quotes, a forwarded message, a mail that is all quote, and what only looks like a header."""
    assert quoted_text(text) is None


def clean(html: str) -> str:
    return Cleaner().clean(html, lambda _: None).html or ""


@pytest.mark.parametrize(("fresh", "quoted", "rest"), HTML_FOLDED)
@pytest.mark.parametrize("around", ["{}", "<html><body><div class=WordSection1>{}</div></body></html>"])
def test_quoted_html_is_one_piece_of_its_element(fresh: str, quoted: str, rest: str, around: str) -> None:
    """What is folded has the quote whole and none of the new words; a fold around it leaves every element closed."""
    fragment = clean(around.format(fresh + quoted + rest))
    found = quoted_html(fragment)
    assert found is not None
    piece = fragment[found[0] : found[1]]
    assert "old" in piece
    assert not {"New", "Neu"} & set(piece.replace("<", ">").split(">"))
    assert balanced(piece)
    assert balanced(fragment[: found[0]] + fragment[found[1] :])


@pytest.mark.parametrize("html", HTML_OPEN)
def test_html_in_doubt_stays_open(html: str) -> None:
    """A clinic's own block quotes, rules and tables of results are no earlier messages."""
    assert quoted_html(clean(html)) is None


def balanced(markup: str) -> bool:
    open_: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("br", "hr", "img", "wbr", "col"):
                open_.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_, "closes what was never open"
            assert open_.pop() == tag

    Reader().feed(markup)
    return not open_


_WORDS = st.sampled_from([
    "<div>", "</div>", "<blockquote>", "</blockquote>", "<p>", "<hr>", "<b>From:</b> a@b<br>",
    "<table><tr><td>", "</table>", "<ul><li>",
    ATTRIBUTION, "words", "<br>", '<div style="border-top:solid red 1pt">', "<a href=https://x.example>", "</a>",
    "<img alt=x>", "&lt;", "<font>",
])  # fmt: skip


@given(st.lists(_WORDS, max_size=30))
def test_any_fold_is_whole(pieces: list[str]) -> None:
    """Whatever the markup: what is folded is balanced, and words stand before it."""
    fragment = clean("".join(pieces))
    found = quoted_html(fragment)
    if found:
        assert balanced(fragment[found[0] : found[1]])
        assert fragment[: found[0]].strip()


@given(st.text(alphabet=st.sampled_from("> \nOn:@wrote1-_FromTo"), max_size=200))
def test_any_offset_is_a_line_with_words_before_it(text: str) -> None:
    """And nothing raises."""
    at = quoted_text(text)
    assert at is None or (text[:at].endswith("\n") and text[:at].strip())


@pytest.mark.parametrize(
    "text",
    [
        ("On " * 83 + "\n") * 8000, ("On " + "wrote " * 40 + "\n") * 8000, ">\n" * 1_000_000, "\n" * 2_000_000,
        "On " + "x " * 1_000_000,
        "1:" * 1_000_000, "From:\n" * 300_000, "> > " * 500_000, "2026年1月1日" * 200_000,
    ],
)  # fmt: skip
def test_hostile_text_takes_no_time(text: str) -> None:
    """Two million characters made to make expressions backtrack: under a second and a half."""
    began = time.process_time()
    quoted_text(text)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(
    "html",
    [
        "<hr><b>a@b:</b>x<br>" * 40_000, "a<blockquote>b@c:</blockquote>" * 40_000, "<div>" * 400 + "x" + "</div>" * 400 + "@:",
        "<p>x" + f"<blockquote>{'1@:' * 300_000}</blockquote>", "<img>" * 100_000, "<hr>" * 400_000,
    ],
)  # fmt: skip
def test_hostile_html_takes_no_time(html: str) -> None:
    """Thousands of rules and quotes, and very long lines: under half a second."""
    began = time.process_time()
    quoted_html(html)
    assert time.process_time() - began < 0.5


def test_only_answers_are_folded() -> None:
    """RFC 5322 3.6.4: a mail that answers none has no earlier messages, and one that is handed on is the message itself."""
    text = f"Content-Type: text/plain; charset=utf-8\r\n\r\nNew\r\n\r\n{ON} {ADDRESS} wrote:\r\n> old\r\n".encode()
    answer = b"In-Reply-To: <1@clinic.example>\r\nSubject: Re: x\r\n"
    rendition = parse(answer + text, Cleaner()).rendition
    assert rendition.text[: rendition.quoted_text] == "New\n\n"
    assert parse(b"Subject: Re: x\r\n" + text, Cleaner()).rendition.quoted_text is None
    for subject in ("Fwd: x", "FW: x", "WG: x", "RV: x", "转发：x"):
        assert not answers(("<1@clinic.example>",), subject)


def test_places_of_quotes_come_back_from_storage() -> None:
    """`load(dump(r)) == r` with and without them, and what is no place is refused."""
    heading = heading_of(b"Subject: s\r\n\r\n")[0]
    for text, html in ((None, None), (3, None), (None, (0, 7)), (5, (2, 9))):
        kept = Rendition(VERSION, heading, "words", "<p>x</p>", (), quoted_text=text, quoted_html=html)
        assert load(dump(kept)) == kept
    whole = dump(Rendition(VERSION, heading, "words", None, ()))
    for wrong in (b"[-1,null]", b"[null,[1]]", b"[null,7]", b'["1",null]', b"[1]", b"7"):
        with pytest.raises(ValueError, match=r"rendition|unpack"):
            load(whole.replace(b"[null,null]", wrong))
