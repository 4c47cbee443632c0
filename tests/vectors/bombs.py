"""Mails made to choke a parser."""

import hashlib
from collections.abc import Iterable
from typing import Any

from tests.vectors.making import OCTETS, Shown, Vector, enclosed, file, ics

# -- attacks on the parser


def attacks() -> Iterable[Vector]:
    topic = "attacks"

    def attack(name: str, raw: bytes, **expected: Any) -> Vector:
        return Vector(topic, name, b"Subject: About your visit\r\n" + raw, hostile=True, **expected)

    unparsable: dict[str, Any] = {"problems": ("unparsable",)}
    yield attack("thousand-parameters", b"Content-Type: text/plain" + b"; a=b" * 1000 + b"\r\n\r\nx", **unparsable)
    yield attack("header-of-16-kb", b"X: " + b"y" * 16_000 + b"\r\n\r\nx", **unparsable)
    yield attack(
        "headers-of-100-kb",
        b"".join(b"X-%d: " % n + b"y" * 1000 + b"\r\n" for n in range(100)) + b"\r\nx",
        **unparsable,
    )
    yield attack("thousand-headers", b"X: y\r\n" * 1000 + b"\r\nx", **unparsable)
    parts = b"".join(b"--B\r\n\r\nword%d\r\n" % n for n in range(5000))
    yield attack(
        "five-thousand-texts",
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + parts + b"--B--",
        says=("word0", "word29"),
        more=29,
        parts=tuple(Shown(f"attachment-{n}.txt") for n in range(1, 171)),
        problems=("too-many-parts",),
    )
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=B%d\r\n\r\n--B%d\r\n" % (n, n) for n in range(300))
    yield attack("three-hundred-multiparts-deep", deep, parts=(Shown("attachment-1.bin"),), problems=("too-deep",))
    yield attack(
        "delimiters-alone",
        b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"---\r\n" * 100_000,
        problems=("too-many-parts",),
    )
    yield attack(
        "encoded-words", b"X: y\r\nFrom: " + b"=?utf-8?q?a?= " * 500 + b"<a@x.example>\r\n\r\nhello", says=("hello",)
    )
    yield attack("half-encoded-words", b"From: " + b"=?a?q?" * 1300 + b"\r\n\r\nhello", says=("hello",))
    yield attack("ten-thousand-addresses", b"To: " + b"a@b," * 2000 + b"\r\n\r\nhello", says=("hello",))
    yield attack("comments-in-addresses", b"To: " + b"(" * 8000 + b"\r\n\r\nhello", says=("hello",))
    yield attack(
        "qp-of-equals",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * 200_000,
        problems=("bad-encoding",),
    )
    yield attack("base64-of-padding", b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=" * 500_000)
    yield attack(
        "html-500-deep",
        b"Content-Type: text/html\r\n\r\n" + b"<div>" * 5000 + b"words",
        says=("words",),
        parts=(Shown("attachment-1.html"),),
        problems=("html-left-out", "too-deep"),
    )
    yield attack(
        "html-of-3-mb",
        b"Content-Type: text/html\r\n\r\n" + b"<p>word</p>" * 300_000,
        says=("word",),
        parts=(Shown("attachment-1.html"),),
        problems=("html-left-out",),
    )
    many = b"".join(b"--B\r\nContent-Type: text/html\r\n\r\n<p>" + b"word " * 80_000 + b"\r\n" for _ in range(20))
    yield attack(
        "html-of-8-mb-in-twenty-parts",
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + many,
        html=True,
        says=("word",),
        more=19,
        parts=tuple(Shown(f"attachment-{n}.html") for n in range(1, 11)),
        problems=("html-left-out",),
    )
    yield attack(
        "text-of-3-mb",
        b"\r\n" + b"x" * 3_000_000,
        says=("xxx",),
        parts=(Shown("attachment-1.txt"),),
        problems=("text-cut",),
    )
    yield attack(
        "script",
        b"Content-Type: text/html\r\n\r\n<p>hello<script>alert(1)</script><img src=x onerror=alert(1)>",
        html=True,
        says=("hello",),
        silent=("alert",),
    )
    yield attack(
        "flowed-spaces",
        b"Content-Type: text/plain; format=flowed\r\n\r\n" + b"a \r\n" * 100_000 + b"end",
        says=("a end",),
    )
    yield attack(
        "flowed-quotes", b"Content-Type: text/plain; format=flowed\r\n\r\n" + b">" * 500_000 + b"end", says=("end",)
    )
    yield attack(
        "calendars-by-the-hundred",
        b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"
        + b"".join(
            b"--B\r\nContent-Type: text/calendar\r\n\r\n" + ics(f"UID:{n}").replace("Blood test", f"Visit {n}").encode()
            for n in range(100)
        ),
        parts=tuple(Shown(f"attachment-{n}.ics", OCTETS, "calendar") for n in range(1, 101)),
        says=("Visit 0", "Visit 49"),
        told=50,
        problems=("part-unread",),
    )
    yield attack(
        "locations-by-the-hundred",
        b"Content-Type: multipart/related; boundary=B\r\n\r\n--B\r\nContent-Type: text/html\r\n\r\n<p>hello"
        + b'<img src="a' * 20_000
        + b"\r\n--B\r\nContent-Type: image/png\r\nContent-Location: a.png\r\n\r\nx",
        html=True,
        says=("hello",),
        parts=(Shown("attachment-1.png"),),
    )
    yield attack(
        "digest-of-nothing",
        b"Content-Type: multipart/digest; boundary=B\r\n\r\n" + b"--B\r\n\r\n" * 100,
        parts=tuple(Shown(f"attachment-{n}.eml", OCTETS, "message") for n in range(1, 101)),
        nested=30,
        problems=("too-many-parts",),
    )
    yield attack(
        "random-bytes",
        b"\r\n" + b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200)),
        problems=("bad-encoding",),
    )
    yield attack("utf16-body-without-a-name", b"\r\n" + "Größe".encode("utf-16"), says=("Größe",))
    large = file("scan.bin", bytes(1_500_000))
    for level in range(4):
        large = enclosed(large, f"Level {level}")
    yield attack(
        "large-and-kept-many-times",
        large.raw,
        says=("Level 3", "Level 2"),
        silent=("Level 1",),
        parts=tuple(Shown(f"attachment-{n}.eml", OCTETS, "message") for n in (1, 2, 3)),
        nested=2,
        problems=("too-deep",),
    )
