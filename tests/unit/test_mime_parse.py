"""A raw mail becomes a rendition."""

import base64
import random
import time
from email import policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime import VERSION, Rendition
from portal.mime.clean import Cleaner
from portal.mime.heading import heading_of
from portal.mime.names import safe_name
from portal.mime.parse import Parsed, parse
from portal.mime.wire import dump, load

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f0005000201ff9d2c5d6d"
    "0000000049454e44ae426082"
)
PDF = b"%PDF-1.7\n\xff\x00 results"


def read(raw: bytes) -> Parsed:
    return parse(raw, Cleaner())


def mixed(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    body = b"".join(b"--B\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/" + kind + b"; boundary=B\r\nSubject: s\r\n\r\n" + body + b"--B--\r\n"


FILE = b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx"
TEXT = b"Content-Type: text/plain\r\n\r\nDear Alice"
HTML = b"Content-Type: text/html\r\n\r\n<p>Dear <b>Alice</b></p>"
CALENDAR = b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR"


def test_mail_of_the_library_comes_back() -> None:
    """Text, HTML with an inline picture and an attachment, as a mail program sends them."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = (
        "Carol Jönes <carol@clinic.example>",
        "alice@patients.example",
        "Größe — now",
    )
    mail.set_content("Liebe Alice,\nGrüße\n")
    mail.add_alternative('<p>Liebe Alice <img src="cid:logo@clinic.example" alt="Logo"></p>', subtype="html")
    related = mail.get_payload(1)
    assert isinstance(related, EmailMessage)
    related.add_related(PNG, "image", "png", cid="<logo@clinic.example>")
    mail.add_attachment(PDF, maintype="application", subtype="octet-stream", filename="Befund Müller.pdf")
    parsed = read(mail.as_bytes(policy=policy.SMTP))
    rendition = parsed.rendition
    assert rendition.heading.subject == "Größe — now"
    assert rendition.text == "Liebe Alice,\nGrüße\n"
    assert rendition.html is not None
    assert rendition.html.startswith('<p>Liebe Alice <img src="data:image/png;base64,')
    assert [(part.id, part.name, part.media_type, part.size) for part in rendition.parts] == [
        ("1", "Befund Müller.pdf", "application/pdf", len(PDF))
    ]
    assert parsed.contents == (PDF,)
    assert rendition.problems == ()


@pytest.mark.parametrize(
    ("raw", "text", "html", "names"),
    [
        (b"Subject: s\r\n\r\nhello", "hello", None, []),
        (b"hello, no header", "hello, no header", None, []),
        (b"", "", None, []),
        (HTML, "Dear Alice", "<p>Dear <b>Alice</b></p>", []),
        (mixed(TEXT, HTML, kind=b"alternative"), "Dear Alice", "<p>Dear <b>Alice</b></p>", []),
        (mixed(HTML, TEXT, kind=b"alternative"), "Dear Alice", "<p>Dear <b>Alice</b></p>", []),
        (mixed(TEXT, HTML, CALENDAR, kind=b"alternative"), "Dear Alice", "<p>Dear <b>Alice</b></p>", ["attachment-1.ics"]),
        (mixed(TEXT, CALENDAR, TEXT), "Dear Alice", None, ["attachment-1.ics"]),
        (mixed(CALENDAR), "", None, ["attachment-1.ics"]),
        (mixed(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n--C\r\n", TEXT), "Dear Alice", None, ["attachment-1.eml"]),
        (mixed(b"\r\nSubject: inner\r\n\r\nx", kind=b"digest"), "", None, ["attachment-1.eml"]),
        (mixed(FILE, TEXT), "Dear Alice", None, ["a.txt"]),
        (mixed(TEXT, b"Content-Type: application/pgp-signature\r\n\r\nx", kind=b"signed"), "Dear Alice", None, ["attachment-1.asc"]),
    ],
)  # fmt: skip
def test_body_is_chosen(raw: bytes, text: str, html: str | None, names: list[str]) -> None:
    """One text and one HTML part are the body; all others are attachments, none is lost."""
    rendition = read(raw).rendition
    assert (rendition.text, rendition.html, [part.name for part in rendition.parts]) == (text, html, names)


def test_missing_end_and_bare_line_feeds_are_read() -> None:
    """A multipart without its last delimiter, or with LF line ends, is read as far as it goes."""
    raw = mixed(TEXT, CALENDAR).removesuffix(b"--B--\r\n")
    for one in (raw, raw.replace(b"\r\n", b"\n")):
        assert read(one).rendition.text == "Dear Alice"
        assert bytes(read(one).contents[0]).rstrip() == b"BEGIN:VCALENDAR"


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        (b"base64", b"SGVsbG8", "Hello"),
        (b"base64", b"SGVs!!bG8=", "Hello"),
        (b"base64", b"SGVsbG8=\r\nSGVsbG8=\r\n", "HelloHello"),
        (b"base64", b"SGVsbG8hA", "Hello!"),
        (b"base64", b"SGVsbG8h" * 200_000 + b"=\r\nSGVsbG8h", "Hello!" * 200_001),
        (b"quoted-printable", b"a=C3=B6=ZZ", "aö=ZZ"),
        (b"x-unknown", b"Hello", "Hello"),
    ],
)
def test_broken_encoding_is_shown_as_it_goes(header: bytes, body: bytes, text: str) -> None:
    """What can be decoded is shown, and that it was broken is said."""
    rendition = read(b"Content-Transfer-Encoding: " + header + b"\r\n\r\n" + body).rendition
    assert (rendition.text, rendition.problems) == (text, ("bad-encoding",))


@pytest.mark.parametrize(
    ("charset", "body", "text", "problems"),
    [
        (b"utf-8", "Größe".encode(), "Größe", ()),
        (b"iso-8859-1", "„Größe“".encode("cp1252"), "„Größe“", ()),
        (b"us-ascii", "Größe".encode(), "Größe", ()),
        (b"utf-8", "Größe".encode("latin-1"), "Größe", ("bad-encoding",)),
        (b"punycode", b"a-b", "a-b", ()),
        (b"zlib_codec", b"\xff\x81", "ÿ\ufffd", ("bad-encoding",)),
        (b"utf-7", b"+2AA-", "\ufffd", ()),
    ],
)
def test_charset_may_lie(charset: bytes, body: bytes, text: str, problems: tuple[str, ...]) -> None:
    """Text comes out under a right, a wrong, an unknown and a dangerous charset."""
    rendition = read(b'Content-Type: text/plain; charset="' + charset + b'"\r\n\r\n' + body).rendition
    assert (rendition.text, rendition.problems) == (text, problems)


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        ("Befund.pdf", "Befund.pdf"),
        ("../../etc/passwd", "etc passwd"),
        ("C:\\temp\\a.exe", "C temp a.exe"),
        ("invoice\u202egpj.exe", "invoice gpj.exe"),
        ("a\x00b\r\nc.txt", "a b c.txt"),
        ("", "attachment-2.pdf"),
        ("...", "attachment-2.pdf"),
        (" .htaccess", "htaccess"),
        ("CON.txt", "_CON.txt"),
        ("u\u0308.txt", "ü.txt"),
        ("=?utf-8?q?B=C3=A4r.txt?=", "Bär.txt"),
    ],
)
def test_name_is_safe(claimed: str, name: str) -> None:
    """An attachment's name is one component that no file system, header or eye misreads."""
    assert safe_name(claimed, "2", "application/pdf") == name


@given(st.text(max_size=400))
def test_any_name_is_safe(claimed: str) -> None:
    """Whatever is claimed, the name is short and has no separator, control or leading dot."""
    name = safe_name(claimed, "1", "text/plain")
    assert 0 < len(name) <= 121
    assert len(name.encode()) <= 255
    assert not set(name) & set('/\\:*?"<>|\x00\r\n\u202e')
    assert not name.startswith(".")


def test_type_is_what_the_bytes_are() -> None:
    """The media type is sniffed; what the mail said is kept beside it."""
    page = b'Content-Type: image/png; name="a.png"\r\n\r\n<html><script>alert(1)</script>'
    picture = (
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\n"
        + base64.b64encode(PNG)
    )
    parts = read(mixed(TEXT, page, picture)).rendition.parts
    assert [(part.media_type, part.declared) for part in parts] == [
        ("application/octet-stream", "image/png"),
        ("image/png", "text/html"),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: text/plain; " + b";" * 44_000 + b"\r\n\r\nx",
        b"Content-Type: text/plain" + b'; a="b"' * 60 + b"\r\n\r\nx",
        b"X: y\r\n" * 300 + b"\r\nx",
        b"X: " + b"y" * 9_000 + b"\r\n\r\nx",
        b"".join(b"X-%d: " % n + b"y" * 8_000 + b"\r\n" for n in range(9)) + b"\r\nx",
        mixed(TEXT, b"Content-Type: text/plain" + b"; a=b" * 60 + b"\r\n\r\nx"),
    ],
)
def test_header_over_a_limit_is_not_parsed(raw: bytes) -> None:
    """Headers that parsers choke on make the mail unparsable at once; nothing of it but the heading is shown."""
    started = time.process_time()
    rendition = read(b"Subject: kept\r\n" + raw).rendition
    assert time.process_time() - started < 0.1
    assert (rendition.heading.subject, rendition.problems) == ("kept", ("unparsable",))
    assert (rendition.text, rendition.html, rendition.parts) == ("", None, ())


def test_ten_thousand_parts_are_cut() -> None:
    """Two hundred parts are read, the rest is said to be left out."""
    started = time.process_time()
    rendition = read(mixed(TEXT, *[FILE] * 10_000)).rendition
    assert time.process_time() - started < 1
    assert len(rendition.parts) == 199
    assert rendition.problems == ("too-many-parts",)


def test_deep_multiparts_are_cut() -> None:
    """Below twenty levels a multipart is one opaque attachment."""
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=B%d\r\n\r\n--B%d\r\n" % (n, n) for n in range(500))
    rendition = read(raw).rendition
    assert rendition.problems == ("too-deep",)
    assert [part.media_type for part in rendition.parts] == ["application/octet-stream"]


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"-" * 1_000_000,
        b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"---\r\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + b"--B " + b" " * 1_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<meta " * 300_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * 500_000,
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A=" * 500_000,
        b"Content-Type: text/html\r\n\r\n" + b"<body " * 300_000,
        b"Content-Type: text/html\r\n\r\n<p style='" + b"color:a " * 500 + b"(',>" * 50,
        b"Content-Type: multipart/mixed" + b"; boundary*%d=B" * 5 % (10**20, 1, 2, 3, 4) + b"\r\n\r\n--B\r\n",
    ],
    ids=range(9),
)
def test_bodies_that_choke_parsers_cost_little(raw: bytes) -> None:
    """A megabyte of the worst body is done in a second or two."""
    started = time.process_time()
    read(raw)
    assert time.process_time() - started < 2


def test_large_html_gives_way_to_text() -> None:
    """HTML over 2 MiB is an attachment; the text, or the beginning of its words, is shown."""
    large = b"Content-Type: text/html\r\n\r\n" + b"<p>word</p>" * 250_000
    beside = read(mixed(TEXT, large, kind=b"alternative")).rendition
    alone = read(large).rendition
    assert (beside.text, beside.html, beside.problems) == ("Dear Alice", None, ("html-left-out",))
    assert alone.text.startswith("word\nword")
    assert [part.name for part in (*beside.parts, *alone.parts)] == ["attachment-1.html"] * 2


def test_large_text_is_cut_and_attached() -> None:
    """Text over 2 Mi characters is shown in part and attached whole."""
    parsed = read(b"\r\n" + b"x" * 3_000_000)
    assert len(parsed.rendition.text) == 2 * 1024 * 1024
    assert (parsed.rendition.parts[0].size, parsed.rendition.problems) == (3_000_000, ("text-cut",))


_SEED = [
    *(b"Content-Type: ", b"multipart/mixed; boundary=B", b"multipart/alternative; boundary*=utf-8''B", b"text/html"),
    *(b"text/plain; charset=", b"utf-8", b"utf-16", b"message/rfc822", b"\r\n", b"\n", b"\r\n\r\n", b"--B", b"--B--"),
    *(
        b"Content-Transfer-Encoding: base64",
        b"quoted-printable",
        b"=?x?q?",
        b"Content-ID: <a>",
        b"<img src=cid:a>",
        b"=",
    ),
    *(b"Content-Disposition: attachment; filename*0*=%ff''%e2; filename*1=", b";", b'"', b"\xff\xfe"),
    *(b"Date: ", b"From: ", b"To: ", b"Subject: "),
]


@given(st.lists(st.sampled_from(_SEED) | st.binary(max_size=6), max_size=40).map(b"".join))
def test_no_bytes_raise(raw: bytes) -> None:
    """Whatever comes in, a rendition comes out that can be sent and stored, with as many contents as parts."""
    parsed = read(raw)
    assert load(dump(parsed.rendition)) == parsed.rendition
    assert [part.size for part in parsed.rendition.parts] == [len(content) for content in parsed.contents]
    assert parsed.rendition.version == VERSION
    assert "unparsable" not in parsed.rendition.problems


def test_mutated_mail_never_raises() -> None:
    """A real mail with bytes flipped, dropped and doubled at random is still answered."""
    chance = random.Random(7)
    whole = mixed(mixed(TEXT, HTML, kind=b"alternative").replace(b"=B", b"=C").replace(b"--B", b"--C"), CALENDAR)
    for _ in range(500):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            at = chance.randrange(len(raw) - 10)
            raw[at : at + chance.choice((0, 1, 8))] = chance.choice(
                (b"", b"\x00", b"\r\n", b"--B\r\n", bytes(raw[at : at + 10]))
            )
        assert isinstance(read(bytes(raw)).rendition, Rendition)


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b"null", b'{"version":1}', b"\xff", b"[" * 100_000])
def test_load_takes_only_a_rendition(stored: bytes) -> None:
    """Anything that `dump` did not write is a ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011
        load(stored)


def test_load_refuses_unknown_fields_and_wrong_types() -> None:
    """One field more, or one of another type, is refused."""
    good = dump(read(b"Subject: s\r\n\r\nx").rendition)
    assert load(good).heading == heading_of(b"Subject: s\r\n")[0]
    for bad in (
        good[:-1] + b',"more":1}',
        good.replace(b'"version":2', b'"version":true'),
        good.replace(b'"s","",[],[]', b'"s","","x",[]'),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            load(bad)
