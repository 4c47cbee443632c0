"""What is fuzzed: each reader of a stranger's bytes, with what must hold whatever they are, and mails to begin with.

`make fuzz` runs each under atheris (tests/fuzz/run.py), `make test` seeds and simple mutations (tests/unit/test_fuzz_targets.py).
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portal.mime.asked import asked_of
from portal.mime.clean import Cleaner, text_of
from portal.mime.css import clean_sheet, clean_style
from portal.mime.heading import answered, heading_of
from portal.mime.links import disguised, shown, target
from portal.mime.parse import parse
from portal.mime.report import read_report
from portal.mime.transfer import decoded
from portal.mime.wire import dump, load
from portal.model.errors import AskedMalformed
from tests.unit.test_mime_clean import PNG, judge
from tests.vectors.attacks import of
from tests.vectors.making import opaque

_CLEANER = Cleaner()
_ENCODINGS = ("base64", "quoted-printable", "7bit", "x-uuencode")
_NOT_A_STYLE = re.compile(r"[\\@<>{}]|(?<!rgb)(?<!rgba)(?<!hsl)(?<!hsla)\(|!", re.IGNORECASE)
_NOT_A_SELECTOR = re.compile(r"[\\@<{};]|:(?!first-child)|~(?!=)", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """`run` raises what is wrong; `seeds` are inputs that reach far."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]

    def mutations(self, how_many: int) -> Iterator[bytes]:
        """Seeds with pieces cut, doubled, replaced and joined, the same ones each time."""
        chance = random.Random(11)
        for _ in range(how_many):
            made = bytearray(chance.choice(self.seeds))
            other = chance.choice(self.seeds)
            for _ in range(chance.randint(1, 6)):
                at, size = chance.randrange(len(made) + 1), chance.choice((0, 1, 4, 30))
                begin = chance.randrange(len(other))
                made[at : at + size] = chance.choice((b"", b"\x00", b"<", b'"', b"\r\n", other[begin : begin + 30]))
            yield bytes(made)


def mail(raw: bytes) -> None:
    """A rendition comes out that can be stored, with the contents that it names."""
    parsed = parse(raw, _CLEANER)
    assert load(dump(parsed.rendition)) == parsed.rendition
    assert [part.size for part in parsed.rendition.parts] == [len(content) for content in parsed.contents]
    if parsed.rendition.html is not None:
        judge(parsed.rendition.html)


def heading(raw: bytes) -> None:
    """Clean text of bounded length."""
    found, message_id, references, received = heading_of(raw)
    for text in (found.subject, found.sender, *found.to, *found.cc):
        assert len(text) <= 998
        assert text.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert all(one.isascii() and " " not in one for one in (message_id, *references, *answered(raw)))
    assert received >= 0


def transfer(raw: bytes) -> None:
    """Never more bytes than came in, and `whole` only for what could be read."""
    for encoding in _ENCODINGS:
        content, whole = decoded(raw, 0, len(raw), encoding)
        assert len(content) <= len(raw)
        assert not (whole and encoding == "x-uuencode")


def html(raw: bytes) -> None:
    """Nothing forbidden comes out, and cleaning it once more finds nothing to do beyond settling the tree."""
    cleaned = _CLEANER.clean(raw.decode("utf-8", "replace"), {"a": PNG}.get)
    if cleaned.html is None:
        assert "html-left-out" in cleaned.problems
        return
    judge(cleaned.html)
    text_of(cleaned.html)
    again = _CLEANER.clean(cleaned.html, lambda _: None)
    if again.html is not None and again.html != cleaned.html:
        judge(again.html)


def style(raw: bytes) -> None:
    """Only plain declarations and selectors come out, the same once more."""
    text = raw.decode("utf-8", "replace")
    kept = clean_style(text)
    assert not _NOT_A_STYLE.search(kept)
    assert clean_style(kept) == kept
    for rule in clean_sheet(text):
        assert not any(_NOT_A_SELECTOR.search(re.sub(r"\"[^\"]*\"|'[^']*'", "", one)) for one in rule.selectors)
        assert not any(_NOT_A_STYLE.search(f"{name}:{value}") for name, value, _ in rule.declared)


def link(raw: bytes) -> None:
    """One reading of each link: what comes out leads to where it is said to lead, also when it is read again."""
    text = raw.decode("utf-8", "replace")
    found = target(text)
    if found is None:
        return
    assert target(found[0]) == found
    assert re.match(r"https?://[a-z0-9._:-]+(?:[/?#]|\Z)|mailto:", found[0], re.IGNORECASE)
    assert shown(found[1])
    disguised(text, found[1])


def report(raw: bytes) -> None:
    """An action and a status, or nothing."""
    found = read_report(raw)
    assert found is None or (len(found[0]) <= 20 and re.fullmatch(r"([245]\.\d{1,3}\.\d{1,3})?", found[1]))


def wishes(raw: bytes) -> None:
    """What a sender asked for, or the one error that says it can't be read."""
    try:
        asked = asked_of(raw)
    except AskedMalformed:
        return
    assert asked.cls is None or re.fullmatch(r"[a-z][a-z0-9-]{0,62}", asked.cls)
    assert asked.phone is None or re.fullmatch(r"\+\d{5,20}", asked.phone)


_MAIL = (
    b"From: =?utf-8?q?Dr_Carol?= <carol@clinic.example>\r\nTo: \"Alice, A\" <alice@patients.example>, b@x.example\r\n"
    b"Subject: =?utf-8?b?w4Q=?= =?utf-8?b?w6Q=?=\r\nDate: Mon, 23 Nov 2026 10:00:00 -0000\r\nMessage-ID: <a@b.example>\r\n"
    b"References: <c@b.example> <d@b.example>\r\nX-Portal-Class: results\r\nX-Portal-Phone: +1 555 0100\r\n"
    b"Content-Type: multipart/mixed; boundary=\"B\"\r\n\r\n--B\r\nContent-Type: multipart/related; boundary=C\r\n\r\n--C\r\n"
    b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<style>p.x{color:red}</style><body bgcolor=3Dred><p class=3Dx>a<img src=3D'cid:a'><a href=3D'https://x.example/'>y.example</a>\r\n"
    b"--C\r\nContent-Type: image/png\r\nContent-ID: <a>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--C--\r\n"
    b"--B\r\nContent-Type: text/plain; name*0*=utf-8''%41; name*1=b.txt\r\nContent-Disposition: attachment\r\n\r\nx\r\n--B--\r\n"
)  # fmt: skip
_REPORT = (
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=B\r\n\r\n--B\r\n\r\nSorry.\r\n--B\r\n"
    b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; a@x.example\r\n"
    b"Action: failed\r\nStatus: 5.1.1\r\n\r\n--B\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nx\r\n--B--\r\n"
)
_SIGNED = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n" + opaque(
    b"Content-Type: text/html\n\n<b>x"
)
_STYLES = (
    b"color:red;font:12px/1.5 'Segoe UI',Arial!important;background:#fff url(x) no-repeat;/* x */margin:0 auto",
    b"<!-- p.a > b, a:link, td[width='6'] + *, #i:first-child {color:rgb(1,2,3)} @media print {q{color:red}} @import 'x'; -->",
    b"a:hover{color:red}p::before{content:'\\201c'}.x\\:y{width:calc(1px + 2px)}p{color:((((}b{c:d",
)
_LINKS = (
    b"https://a.example/x?y=1&z#q", b" HTTPS://A.example:8443/a b", "https://münchen.example/ä".encode(), b"mailto:a@b.example?x",
    b"https://xn--mnchen-3ya.example/", b"https://bank.example@evil.example/", b"java\tscript:x", b"https://a.example\\@b.example",
    "https://аррӏе.example/ www.bank。example".encode(), b"//a.example/x", b"https://[::1]/",
    b"mailto:?.ex", b"mailto:a@b.example?to=c@d.example",
)  # fmt: skip
_PAYLOADS = tuple(one.html.encode("utf-8", "replace") for one in of("127.0.0.1:9"))

TARGETS = {
    "mail": Target(mail, (_MAIL, _REPORT, b"Content-Type: text/html\n\n" + _PAYLOADS[0], _SIGNED)),
    "heading": Target(heading, (_MAIL, _REPORT)),
    "transfer": Target(transfer, (b"aGVsbG8=\r\naGVsbG8=", b"a=3D=\r\nb=E4 =\t\r\n=zz", b"====", b"begin 644 x\n#0V%T\n`\nend\n")),
    "html": Target(html, (
        *_PAYLOADS, b'<a href="mailTo:e"e/a>', b"<img src=cid:a alt=x><style>" + _STYLES[1] + b"</style><p class=a>x<b>y</b>",
    )),
    "style": Target(style, _STYLES),
    "link": Target(link, _LINKS),
    "report": Target(report, (_REPORT, _MAIL)),
    "wishes": Target(wishes, (
        _MAIL, b"X-Portal-Access-Code: =?utf-8?q?blue_door?=\nX-Portal-Access-Hint: colour\nX-Portal-Phone: +15550100\n\nx",
    )),
}  # fmt: skip
