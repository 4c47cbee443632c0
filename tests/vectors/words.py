"""Mails that are about words: letters, charsets, header text, names of files, transfer encodings, flowed text."""

import base64
from collections.abc import Iterable

from tests.vectors.making import (
    OCTETS,
    PDF,
    PNG,
    Piece,
    Shown,
    Vector,
    file,
    html,
    message,
    multi,
    part,
    picture,
    text,
    vector,
)

# -- plain letters


def letters() -> Iterable[Vector]:
    topic, head = "letters", b"From: carol@clinic.example\r\nSubject: About your visit\r\n"
    plain = "Dear Alice,\r\n\r\nyour results are fine.\r\n\r\nCarol\r\n"
    says = ("Dear Alice,", "your results are fine.", "Carol")
    yield vector(topic, "ascii", text(plain), says=says)
    yield vector(topic, "no-charset", part("text/plain", plain), says=says)
    yield Vector(topic, "no-content-type", head + b"\r\n" + plain.encode(), says=says)
    yield Vector(
        topic,
        "no-mime-version-with-encoding",
        head + b"Content-Transfer-Encoding: base64\r\n\r\nRGVhciBBbGljZQ==\r\n",
        says=("Dear Alice",),
    )
    yield Vector(topic, "lf-only", (head + b"\r\n" + plain.encode()).replace(b"\r\n", b"\n"), says=says)
    yield Vector(topic, "cr-only", (head + b"\r\n" + plain.encode()).replace(b"\r\n", b"\r"), says=says, hostile=True)
    yield Vector(
        topic,
        "mixed-line-ends",
        head + b"\r\nDear Alice,\nyour results\rare fine.\r\n",
        says=("Dear Alice,", "your results", "are fine."),
        hostile=True,
    )
    yield Vector(topic, "no-subject", b"From: carol@clinic.example\r\n\r\nhello\r\n", subject="", says=("hello",))
    yield Vector(topic, "nothing-at-all", b"", subject="")
    yield Vector(topic, "one-line-end", b"\r\n", subject="")
    yield Vector(topic, "headers-only", head)
    yield Vector(topic, "headers-and-empty-line", head + b"\r\n")
    yield Vector(topic, "blank-body", head + b"\r\n \r\n\t\r\n")
    yield Vector(
        topic,
        "no-headers",
        b"Dear Alice, this is no mail at all\r\n",
        subject="",
        says=("this is no mail at all",),
        hostile=True,
    )
    yield Vector(
        topic,
        "mbox-line",
        b"From carol@clinic.example Sat Nov 21 10:42:00 2026\r\n" + head + b"\r\nhello\r\n",
        says=("hello",),
    )
    yield Vector(topic, "no-final-line-end", head + b"\r\nlast words", says=("last words",))
    yield Vector(
        topic,
        "body-like-headers",
        head + b"\r\nNote: this is a body\r\nDose: 5 mg\r\n",
        says=("Note: this is a body", "Dose: 5 mg"),
    )
    yield Vector(
        topic,
        "header-without-colon",
        b"Subject: About your visit\r\nthis line is the body\r\n\r\nmore\r\n",
        says=("this line is the body", "more"),
        hostile=True,
    )
    yield Vector(
        topic,
        "space-before-colon",
        b"Subject : About your visit\r\nContent-Type : text/plain\r\n\r\nhello\r\n",
        says=("hello",),
        hostile=True,
    )
    yield vector(topic, "long-line", text("word " * 20_000 + "end"), says=("word end",))
    yield vector(
        topic,
        "nul-and-controls",
        part("text/plain", b"a\x00b\x01c \x1b[31mred\x7f\r\n", kept=()),
        says=("abc [31mred",),
        hostile=True,
    )
    yield vector(
        topic, "markup-in-text", text("a <b> & <script>alert(1)</script>"), says=("a <b> & <script>alert(1)</script>",)
    )
    yield vector(topic, "emoji-and-rtl", text("مرحبا 👩‍⚕️ שלום"), says=("مرحبا", "שלום", "👩"))
    yield vector(topic, "markdown", text("# Results\r\n\r\n*fine*", subtype="markdown"), says=("# Results", "*fine*"))
    yield vector(topic, "enriched", text("<bold>fine</bold>", subtype="enriched"), says=("fine",))
    yield vector(topic, "csv-is-a-file", text("a,b\r\n1,2\r\n", subtype="csv"), parts=(Shown("attachment-1.csv"),))
    yield vector(
        topic,
        "html-only",
        html("<p>Your <b>results</b> are fine.</p>", words="Your results are fine."),
        says=("results",),
        html=True,
    )
    yield vector(
        topic,
        "html-uppercase-type",
        part("TEXT/HTML; CHARSET=UTF-8", "<P>fine</P>", kept=("fine",)),
        says=("fine",),
        html=True,
    )
    yield vector(
        topic, "only-an-attachment", file("r.pdf", PDF), parts=(Shown("r.pdf", "application/pdf", "", len(PDF)),)
    )
    yield vector(topic, "body-is-a-picture", picture(), parts=(Shown("attachment-1.png", "image/png"),))


# -- charsets


def charsets() -> Iterable[Vector]:
    topic = "charsets"
    honest = (
        ("utf-8", "Größe — naïve “quotes” ☃", "utf-8"),
        ("UTF8", "Größe", "utf-8"),
        ("iso-8859-1", "Größe", "latin-1"),
        ("iso-8859-15", "5 €", "iso8859-15"),
        ("windows-1252", "“quotes” — €", "cp1252"),
        ("iso-8859-2", "Żółć gęślą", "iso8859-2"),
        ("windows-1250", "Příliš žluťoučký", "cp1250"),
        ("windows-1251", "Здравствуйте", "cp1251"),
        ("koi8-r", "Здравствуйте", "koi8-r"),
        ("koi8-u", "Привіт їжак", "koi8-u"),
        ("iso-8859-5", "Здравствуйте", "iso8859-5"),
        ("ibm866", "Здравствуйте", "cp866"),
        ("iso-8859-7", "Καλημέρα", "iso8859-7"),
        ("windows-1253", "Καλημέρα", "cp1253"),
        ("iso-8859-9", "İstanbul ğüş", "iso8859-9"),
        ("windows-1255", "שלום", "cp1255"),
        ("iso-8859-8-i", "שלום", "iso8859-8"),
        ("windows-1256", "مرحبا", "cp1256"),
        ("windows-1258", "Viê\u0323t", "cp1258"),
        ("tis-620", "สวัสดี", "cp874"),
        ("gb2312", "你好，爱丽丝", "gb2312"),
        ("gb18030", "你好 𠀀", "gb18030"),
        ("big5", "你好", "big5"),
        ("shift_jis", "こんにちは", "shift_jis"),
        ("x-sjis", "①②", "cp932"),
        ("euc-jp", "こんにちは", "euc_jp"),
        ("iso-2022-jp", "こんにちは", "iso2022_jp"),
        ("euc-kr", "안녕하세요", "euc_kr"),
        ("ks_c_5601-1987", "안녕하세요", "cp949"),
        ("utf-16", "Größe 你好", "utf-16"),
        ("utf-16le", "Größe", "utf-16-le"),
        ("utf-7", "Größe", "utf-7"),
        ("macintosh", "Größe", "mac-roman"),
        ("cp850", "Größe", "cp850"),
    )
    for label, words, codec in honest:
        body = part(f"text/plain; charset={label}", words.encode(codec), encoding="base64", kept=(words,))
        yield vector(topic, f"honest-{label}", body, says=(words,))
    lies = (
        ("says-utf8-is-latin1", "utf-8", "Größe".encode("latin-1"), "Größe", True),
        ("says-ascii-is-utf8", "us-ascii", "Größe".encode(), "Größe", False),
        ("says-latin1-is-utf8", "iso-8859-1", "Größe".encode(), "Größe", False),
        ("says-ascii-is-iso2022jp", "us-ascii", "こんにちは".encode("iso2022_jp"), "こんにちは", False),
        ("says-utf16-is-ascii", "utf-16", b"plain words", "plain words", False),
        ("says-latin1-is-utf16-with-bom", "iso-8859-1", "Größe".encode("utf-16"), "Größe", False),
        ("utf8-cut-in-a-letter", "utf-8", ("Größe schön für über " * 4).encode() + b"\xc3", "Größe schön", True),
        ("gb2312-with-one-bad-byte", "gb2312", "你好爱丽丝今天很好".encode("gb2312") + b"\xff end", "你好爱丽丝", True),
        ("unknown", "x-unknown-8bit", "Größe".encode(), "Größe", False),
        ("unknown-and-not-utf8", "x-martian", "Größe".encode("latin-1"), "Größe", True),
        ("a-python-codec", "zlib_codec", b"plain words", "plain words", False),
        ("a-module-name", "../../os", b"plain words", "plain words", False),
        ("quoted-and-spaced", '" utf-8 "', "Größe".encode(), "Größe", False),
        ("underscores", "ISO_8859_1", "Größe".encode("latin-1"), "Größe", False),
        ("empty", '""', "Größe".encode(), "Größe", False),
        ("half-surrogates-in-utf7", "utf-7", b"+2AA- words", "words", False),
        ("utf8-bom", "utf-8", "\ufeffGröße".encode(), "Größe", False),
    )
    for name, label, content, words, wrong in lies:
        body = part(f"text/plain; charset={label}", content, encoding="base64", kept=(words,))
        yield vector(topic, name, body, says=(words,), problems=("bad-encoding",) if wrong else (), hostile=True)
    meta = '<html><head><meta http-equiv="Content-Type" content="text/html; charset=koi8-r"></head><body>Здравствуйте</body></html>'
    yield vector(
        topic,
        "html-meta",
        part("text/html", meta.encode("koi8-r"), encoding="base64", kept=("Здравствуйте",)),
        says=("Здравствуйте",),
        html=True,
    )


# -- header text


def headers() -> Iterable[Vector]:
    topic = "headers"
    cases = (
        ("q-word", b"=?utf-8?Q?Gr=C3=B6=C3=9Fe_now?=", "Größe now", False),
        ("b-word", b"=?UTF-8?B?R3LDtsOfZQ==?=", "Größe", False),
        ("adjacent-words-join", b"=?utf-8?q?Gr=C3=B6?=\r\n =?utf-8?q?=C3=9Fe?=", "Größe", False),
        ("adjacent-cut-in-a-letter", b"=?utf-8?q?Gr=C3?=\r\n =?utf-8?q?=B6=C3=9Fe?=", "Größe", False),
        ("adjacent-b-cut-in-a-letter", b"=?utf-8?b?R3LD?= =?utf-8?b?tsOfZQ==?=", "Größe", False),
        ("adjacent-of-two-charsets", b"=?iso-8859-1?q?Gr=F6?= =?utf-8?q?=C3=9Fe?=", "Größe", False),
        ("words-and-plain-text", b"Re: =?utf-8?q?Gr=C3=B6=C3=9Fe?= of it", "Re: Größe of it", False),
        ("language", b"=?utf-8*de?q?Gr=C3=B6?= =?utf-8*de?q?=C3=9Fe?=", "Größe", False),
        ("gb2312", b"=?GB2312?B?xOO6ww==?=", "你好", False),
        ("iso-2022-jp", b"=?iso-2022-jp?B?GyRCJDMkcyRLJEEkTxsoQg==?=", "こんにちは", False),
        ("koi8-r", b"=?koi8-r?B?8NLJ18XU?=", "Привет", False),
        ("raw-utf8", "Größe".encode(), "Größe", False),
        ("raw-latin1", "Größe".encode("latin-1"), "Größe", True),
        ("folded", b"a long\r\n subject\r\n\tover lines", "a long subject over lines", False),
        ("spaces-in-q-word", b"=?utf-8?q?Gr=C3=B6=C3=9Fe of it?=", "Größe of it", True),
        ("spaces-in-b-word", b"=?utf-8?b?R3LD tsOf ZQ==?=", "Größe", True),
        ("missing-padding", b"=?utf-8?b?R3LDtsOfZQ?=", "Größe", True),
        ("padding-in-the-middle", b"=?utf-8?b?R3LDtg==w59l?=", "Größe", True),
        ("question-mark-inside", b"=?utf-8?q?What?_now?=", "What? now", True),
        ("glued", b"a=?utf-8?q?=C3=B6?=b", "aöb", True),
        ("never-closed", b"=?utf-8?q?Gr=C3=B6", "=?utf-8?q?Gr=C3=B6", True),
        ("unknown-encoding", b"=?utf-8?x?abc?=", "=?utf-8?x?abc?=", True),
        ("unknown-charset", b"=?martian?q?Gr=C3=B6=C3=9Fe?=", "Größe", True),
        ("empty-word", b"=?utf-8?q??= words", "words", True),
        ("word-in-a-word", b"=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?x?=", True),
        ("line-break-in-a-word", b"=?utf-8?q?a=0D=0AX-Evil:_b?=", "a X-Evil: b", True),
        ("bidi-override", "results\u202efdp.exe".encode(), "results fdp.exe", True),
        ("nul-in-a-word", b"=?utf-8?q?a=00b?=", "a b", True),
        ("second-subject", b"first\r\nSubject: second", "first", True),
        ("surrogate-by-utf7", b"=?utf-7?q?+2AA-?=", "\ufffd", True),
    )
    for name, value, subject, hostile in cases:
        raw = b"From: carol@clinic.example\r\nSubject: " + value + b"\r\n\r\nhello\r\n"
        yield Vector(topic, name, raw, subject=subject, says=("hello",), hostile=hostile)
    odd = (
        ("type-without-semicolon", b"text/plain charset=utf-8", "Größe".encode(), "Größe", False),
        ("type-with-many-semicolons", b"text/html;;; charset=utf-8;", "<p>Größe".encode(), "Größe", True),
        ("type-quoted", b'"text/html"', b"<p>fine", "fine", True),
        ("type-with-a-comment", b"text/plain (words) ; charset=utf-8", "Größe".encode(), "Größe", False),
        ("type-nonsense", b"text", b"fine", "fine", False),
        ("type-empty", b"", b"fine", "fine", False),
        ("type-twice", b"text/plain\r\nContent-Type: text/html", b"<p>fine", "<p>fine", False),
        ("type-folded", b"text/plain;\r\n\tcharset=utf-8;\r\n format=fixed", "Größe".encode(), "Größe", False),
        ("charset-without-value", b"text/plain; charset", "Größe".encode(), "Größe", False),
    )
    for name, value, body, words, is_html in odd:
        raw = b"Subject: About your visit\r\nContent-Type: " + value + b"\r\n\r\n" + body + b"\r\n"
        yield Vector(topic, name, raw, says=(words,), html=is_html, hostile=True)


# -- names of files


def names() -> Iterable[Vector]:
    topic = "names"
    cases: tuple[tuple[str, str | bytes, str, bool], ...] = (
        ("plain", 'attachment; filename="results.pdf"', "results.pdf", False),
        ("token", "attachment; filename=results.pdf", "results.pdf", False),
        ("spaces-unquoted", "attachment; filename=my results.pdf", "my results.pdf", True),
        ("rfc2231", "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf", "Größe.pdf", False),
        ("rfc2231-with-language", "attachment; filename*=iso-8859-1'de'Gr%F6%DFe.pdf", "Größe.pdf", False),
        ("continued", 'attachment; filename*0="a long "; filename*1="name.pdf"', "a long name.pdf", False),
        (
            "continued-and-encoded",
            "attachment; filename*0*=utf-8''Gr%C3%B6; filename*1*=%C3%9Fe; filename*2=.pdf",
            "Größe.pdf",
            False,
        ),
        ("continued-out-of-order", 'attachment; filename*1="name.pdf"; filename*0="a long "', "a long name.pdf", True),
        (
            "continued-cut-in-a-letter",
            "attachment; filename*0*=utf-8''Gr%C3; filename*1*=%B6%C3%9Fe.pdf",
            "Größe.pdf",
            False,
        ),
        ("both-forms", "attachment; filename=\"Grosse.pdf\"; filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf", "Größe.pdf", False),
        (
            "both-forms-the-other-way",
            "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf; filename=\"Grosse.pdf\"",
            "Größe.pdf",
            False,
        ),
        ("rfc2047-in-quotes", 'attachment; filename="=?utf-8?q?Gr=C3=B6=C3=9Fe.pdf?="', "Größe.pdf", False),
        (
            "rfc2047-words-in-quotes",
            'attachment; filename="=?utf-8?b?R3LDtg==?=\r\n =?utf-8?b?w59lLnBkZg==?="',
            "Größe.pdf",
            False,
        ),
        ("rfc2047-bare", "attachment; filename==?utf-8?b?R3LDtsOfZS5wZGY=?=", "Größe.pdf", True),
        ("percent-as-in-a-url", 'attachment; filename="Gr%C3%B6%C3%9Fe%20now.pdf"', "Größe now.pdf", True),
        ("raw-utf8", 'attachment; filename="Größe.pdf"'.encode(), "Größe.pdf", True),
        ("raw-latin1", 'attachment; filename="Größe.pdf"'.encode("latin-1"), "Größe.pdf", True),
        ("unknown-charset", "attachment; filename*=martian''Gr%C3%B6%C3%9Fe.pdf", "Größe.pdf", True),
        ("module-as-charset", "attachment; filename*=punycode''Gr.pdf", "Gr.pdf", True),
        ("path", 'attachment; filename="../../etc/passwd"', "etc passwd", True),
        ("windows-path", 'attachment; filename="C:\\\\temp\\\\a.pdf"', "C temp a.pdf", True),
        ("bidi", "attachment; filename*=utf-8''results%E2%80%AEfdp.exe", "results fdp.exe", True),
        ("line-break", "attachment; filename*=utf-8''a%0D%0AX%3A%20b.pdf", "a X b.pdf", True),
        ("device", 'attachment; filename="con.pdf"', "_con.pdf", True),
        ("none", "attachment", "attachment-1.pdf", False),
        ("dots", 'attachment; filename="...."', "attachment-1.pdf", True),
        ("endless", f'attachment; filename="{"a" * 4000}.pdf"', "a" * 116 + ".pdf", True),
        ("huge-index", "attachment; filename*99999999999999999999=a; filename=b.pdf", "b.pdf", True),
        ("disposition-without-semicolon", "attachment filename=a.pdf", "attachment-1.pdf", True),
    )
    for name, value, shown, hostile in cases:
        field = value.encode() if isinstance(value, str) else value
        raw = message(Piece(b"Content-Type: application/pdf\r\nContent-Disposition: " + field + b"\r\n\r\n" + PDF))
        parts = (Shown(shown, "application/pdf", "", len(PDF)),) if shown else ()
        yield Vector(topic, name, raw, parts=parts, kept=(PDF,), hostile=hostile)
    by_type = Piece(b'Content-Type: application/pdf; name="by type.pdf"\r\n\r\n' + PDF, (PDF,))
    yield vector(topic, "in-content-type", by_type, parts=(Shown("by type.pdf", "application/pdf"),))
    lying = file("photo.png", b"MZ\x90\x00 program", "image/png")
    yield vector(topic, "type-lies", lying, parts=(Shown("photo.png", OCTETS),), hostile=True)
    yield vector(topic, "type-undersells", file("scan", PNG, OCTETS), parts=(Shown("scan", "image/png"),))


# -- transfer encodings


def transfer() -> Iterable[Vector]:
    topic = "transfer"
    cases = (
        ("qp", b"quoted-printable", b"Gr=C3=B6=C3=9Fe, a soft=\r\n line", "Größe, a soft line", False),
        ("qp-lower-case", b"quoted-printable", b"Gr=c3=b6=c3=9fe", "Größe", False),
        ("qp-space-before-break", b"quoted-printable", b"a soft= \r\n line", "a soft line", False),
        ("qp-bad-escape", b"quoted-printable", b"100=% fine=ZZ", "100=% fine=ZZ", True),
        ("qp-ends-in-equals", b"quoted-printable", b"fine=", "fine", False),
        ("qp-raw-8-bit", b"quoted-printable", "Größe =C3=9F".encode(), "Größe ß", False),
        ("qp-lf-only", b"quoted-printable", b"one=\ntwo\nthree", "onetwo\nthree", False),
        ("base64", b"base64", b"R3LDtsOf\r\nZQ==\r\n", "Größe", False),
        ("base64-one-line", b"base64", base64.b64encode("Größe ".encode() * 500), "Größe Größe", False),
        ("base64-no-padding", b"base64", b"R3LDtsOfZQ", "Größe", True),
        ("base64-noise", b"base64", b"R3LD!!tsOf*ZQ==", "Größe", True),
        ("base64-cut", b"base64", b"R3LDtsOfZS", "Größe", True),
        ("base64-and-a-footer", b"base64", b"R3LDtsOfZQ==\r\n-- \r\nlist", "Größe", True),
        ("base64-two-joined", b"base64", b"R3LD\r\ntsOfZQ==\r\nR3LDtsOfZQ==", "GrößeGröße", True),
        ("base64-upper-case-name", b"BASE64", b"R3LDtsOfZQ==", "Größe", False),
        ("encoding-with-a-comment", b"base64 (as ever)", b"R3LDtsOfZQ==", "Größe", False),
        ("encoding-with-a-semicolon", b"base64;", b"R3LDtsOfZQ==", "Größe", False),
        ("encoding-unknown", b"x-token", b"plain words", "plain words", True),
        ("uuencode-is-left", b"x-uuencode", b"begin 644 a.txt\r\n#0V%T\r\n`\r\nend", "begin 644 a.txt", True),
        ("binary", b"binary", "Größe".encode(), "Größe", False),
        ("8bit", b"8bit", "Größe".encode(), "Größe", False),
        ("7bit-with-8-bit", b"7bit", "Größe".encode(), "Größe", False),
    )
    for name, encoding, body, words, broken in cases:
        raw = b"Subject: About your visit\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        problems = ("bad-encoding",) if broken else ()
        yield Vector(
            topic, name, raw + encoding + b"\r\n\r\n" + body + b"\r\n", says=(words,), problems=problems, hostile=broken
        )
    inner = multi("mixed", text("Dear Alice"), file("r.pdf", PDF))
    head, _, body = inner.raw.partition(b"\r\n\r\n")
    wrapped = head + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(body)
    yield Vector(
        topic, "multipart-in-base64", message(Piece(wrapped)), says=("Dear Alice",), parts=(Shown("r.pdf", "application/pdf"),),
        kept=inner.kept, hostile=True,
    )  # fmt: skip


# -- flowed text


def flowed() -> Iterable[Vector]:
    topic = "flowed"
    cases: tuple[tuple[str, str, dict[str, str], tuple[str, ...]], ...] = (
        ("paragraph", "This is one \r\nparagraph.\r\n", {}, ("This is one paragraph.",)),
        ("two", "one \r\nline.\r\n\r\nnext \r\none.", {}, ("one line.\n\nnext one.",)),
        ("delsp", "ideo \r\ngraph", {"delsp": "yes"}, ("ideograph",)),
        ("stuffed", " From here\r\n > no quote", {}, ("From here\n> no quote",)),
        (
            "quoted",
            "> a quoted \r\n> paragraph\r\nan answer \r\nof two",
            {},
            ("> a quoted paragraph\nan answer of two",),
        ),
        ("depth-ends-a-paragraph", ">> deep \r\n> less", {}, (">> deep \n> less",)),
        ("signature", "words \r\n-- \r\nCarol \r\nJones", {}, ("words \n-- \nCarol Jones",)),
        ("hard-line", "one\r\ntwo", {}, ("one\ntwo",)),
        ("last-line-flows", "one \r\n", {}, ("one",)),
    )
    for name, body, more, says in cases:
        yield vector(topic, name, text(body, format="flowed", **more), says=says)
    yield vector(topic, "fixed", text("one \r\ntwo", format="fixed"), says=("one \ntwo",))
