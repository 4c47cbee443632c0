"""The heading of a mail, read in the server itself."""

import time
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime.heading import heading_of

USUAL = (
    b"Received: from a.clinic.example by b.clinic.example;\r\n\tMon, 23 Nov 2026 10:00:00 +0000\r\n"
    b"received: from c.clinic.example by a.clinic.example; Mon, 23 Nov 2026 09:59:59 +0000\r\n"
    b"From: =?utf-8?q?Carol_J=C3=B6nes?= <carol@clinic.example>\r\n"
    b'To: "Reader, Alice" <alice@patients.example>, bob@patients.example (Bob)\r\n'
    b"Cc: Staff: dora@clinic.example;\r\n"
    b"Subject: =?utf-8?B?UmVzdWx0cyDi?=\r\n =?utf-8?B?gJQ=?= of Monday\r\n"
    b"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\n"
    b"Message-ID: <m1@clinic.example>\r\n"
    b"References: <r1@clinic.example>\r\n\t<r2@clinic.example> junk <no id>\r\n\r\nSubject: body\r\n"
)


def test_usual_heading_is_decoded() -> None:
    """Encoded words, folded lines, quoted names, comments and groups come out as people read them."""
    heading, message_id, references, received = heading_of(USUAL)
    assert heading.subject == "Results — of Monday"
    assert heading.sender == "Carol Jönes <carol@clinic.example>"
    assert heading.to == ("Reader, Alice <alice@patients.example>", "Bob <bob@patients.example>")
    assert heading.cc == ("dora@clinic.example",)
    assert heading.sent_at == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert (message_id, references, received) == (
        "<m1@clinic.example>",
        ("<r1@clinic.example>", "<r2@clinic.example>"),
        2,
    )


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        (b"plain", "plain"),
        ("Größe".encode(), "Größe"),
        ("Größe".encode("latin-1"), "Größe"),
        (b"=?iso-8859-1?q?Gr=F6=DFe?=", "Größe"),
        (b"=?us-ascii?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        (b"=?no-such-charset?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?= c", "ab c"),
        (b"=?utf-8*de?q?a?=", "a"),
        (b"=?utf-8?b?!!!?=", "?"),
        (b"=?gb2312?b?xOO6ww==?=", "你好"),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        ("invoice\u202egpj.exe\u2066 \x07x\u200b".encode(), "invoice gpj.exe x"),
        (b"a=?utf-8?q?=0D=0ABcc:_x?=", "a Bcc: x"),
    ],
)
def test_subject_is_readable_whatever_its_charset(value: bytes, subject: str) -> None:
    """Known, missing, unknown and lying charsets give text; control and bidi characters are gone."""
    assert heading_of(b"Subject: " + value + b"\n\n")[0].subject in (subject, "!!!", "")


def test_name_cannot_pass_for_another_address() -> None:
    """Angle brackets inside a display name do not look like an address."""
    heading = heading_of(b'From: "Carol <carol@clinic.example>" <mallory@attacker.example>\n\n')[0]
    assert heading.sender == "Carol carol@clinic.example <mallory@attacker.example>"


def test_second_from_is_not_shown() -> None:
    """Of several From or Subject fields the first counts."""
    heading = heading_of(b"From: carol@clinic.example\nFrom: mallory@attacker.example\nSubject: a\nSubject: b\n\n")[0]
    assert (heading.sender, heading.subject) == ("carol@clinic.example", "a")


@pytest.mark.parametrize(
    "date", [b"", b"yesterday", b"Mon, 99 Nov 2026", b"31 Dec 9999 23:59 -2359", b"\xff", b"1 " * 4000]
)
def test_date_that_is_none_is_left_out(date: bytes) -> None:
    """An unreadable Date is None, not an error."""
    assert heading_of(b"Date: " + date + b"\n\n")[0].sent_at is None


def test_addresses_and_references_are_bounded() -> None:
    """A hundred addresses are shown and an ellipsis says there were more; fifty references are kept, the last ones."""
    header = b"To: " + b",".join(b"a%d@b.example" % n for n in range(300)) + b"\n"
    header += b"References: " + b" ".join(b"<%d@b>" % n for n in range(300)) + b"\n\n"
    heading, _, references, _ = heading_of(header)
    assert len(heading.to) == 101
    assert heading.to[-1] == "…"
    assert len(references) == 50
    assert references[-1] == "<299@b>"


def test_in_reply_to_stands_in_for_references() -> None:
    """A reply without References still names what it answers."""
    assert heading_of(b"In-Reply-To: <m1@clinic.example>\n\n")[2] == ("<m1@clinic.example>",)


_BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.binary(max_size=3000))
def test_any_bytes_give_a_heading(block: bytes) -> None:
    """No bytes make it raise, and what comes out is clean text of bounded length."""
    heading, message_id, references, received = heading_of(b"Subject: " + block)
    texts = (heading.subject, heading.sender, *heading.to, *heading.cc)
    assert all(len(text) <= 998 for text in texts)
    signs = {sign for text in texts for sign in text}
    assert not {sign for sign in signs if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")}
    assert not {sign for sign in signs if unicodedata.bidirectional(sign) in _BIDI_CONTROLS}
    assert all(one.isascii() and " " not in one for one in (message_id, *references))
    assert received >= 0


@pytest.mark.parametrize(
    "block",
    [
        b"Subject: " + b"=?utf-8?q?" * 6000,
        b"Subject: " + b"=?utf-8?q?x?= " * 4000,
        b"To: " + b'"\\' * 32000,
        b"To: " + b"(" * 65000,
        b"To: " + b"a:" * 32000,
        b"To: " + b"<" * 65000,
        b"From: " + b"a," * 32000,
        b"References: " + b"<a" * 32000,
        b"a:\n" * 21000,
        b"x:" + b"\n " * 32000,
        b"To: a,\n" * 9000,
        b"!" * 65536,
    ],
)
def test_header_bombs_cost_little(block: bytes) -> None:
    """64 KiB of the worst header cost milliseconds: this runs beside everybody else's requests."""
    started = time.process_time()
    heading_of(block[:65536])
    assert time.process_time() - started < 0.1


def test_usual_heading_is_cheap() -> None:
    """A usual header costs far less than a millisecond."""
    started = time.process_time()
    for _ in range(200):
        heading_of(USUAL)
    assert (time.process_time() - started) / 200 < 0.001
