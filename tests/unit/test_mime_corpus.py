"""Every mail of the corpus (tests/vectors/mails.py) is shown as it says there, and none hurts, whatever is done to it."""

import base64
import random
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.mime import Card, Event, Rendition, Report, Told
from portal.mime.clean import Cleaner
from portal.mime.flowed import unflowed
from portal.mime.limits import Unparsable
from portal.mime.parse import Parsed, parse
from portal.mime.signed import words_of
from portal.mime.structure import tree
from portal.mime.wire import dump, load
from tests.vectors.mails import CORPUS, Kept, Vector
from tests.vectors.making import der, opaque

_SECONDS = 1.5
_TAG = re.compile(r"<[^>]*>")


def by_name(vector: Vector) -> str:
    return f"{vector.topic}-{vector.name}"


@cache
def cleaner() -> Cleaner:
    return Cleaner()


def documents(rendition: Rendition) -> list[tuple[str, str | None]]:
    return [(rendition.text, rendition.html), *((one.text, one.html) for one in rendition.enclosed)]


def fields(told: Told) -> list[str]:
    match told:
        case Event():
            moments = [f"{one.at.isoformat()} {one.zone}" for one in (told.begins, told.ends) if one]
            words = [told.method, told.what, told.where, told.organiser, told.notes, told.answer]
            return [*words, *moments, *told.people, "repeats" if told.repeats else ""]
        case Card():
            return [told.name, *told.lines]
        case Report():
            return [told.recipient, told.action, told.status, told.reason]


def page(rendition: Rendition) -> str:
    """All that people read: HTML both as it is written and without its tags, text only where no HTML is shown."""
    shown = [text if html is None else f"{html}\n{unescape(_TAG.sub('', html))}" for text, html in documents(rendition)]
    shown += [one.heading.subject for one in rendition.enclosed if one.heading]
    return "\n".join([*shown, *(said for told in rendition.told for said in fields(told))])


def lost(kept: Kept, parsed: Parsed, read: str) -> bool:
    contents = [bytes(content) for content in parsed.contents]
    if isinstance(kept, bytes):
        return not any(kept in content for content in contents) and base64.b64encode(kept).decode() not in read
    in_files = "\n".join(content.decode("utf-8", "replace") for content in contents)
    everywhere = "\n".join([read, parsed.rendition.text, *(one.text for one in parsed.rendition.enclosed), in_files])
    return not all(word in everywhere for word in kept.split())


def test_corpus_is_what_was_asked_for() -> None:
    """At least 200 mails, each under a name of its own, a third of them hostile or broken."""
    assert len(CORPUS) >= 200
    assert max(Counter(map(by_name, CORPUS)).values()) == 1
    assert sum(vector.hostile for vector in CORPUS) * 3 >= len(CORPUS)


@pytest.mark.parametrize("vector", CORPUS, ids=by_name)
def test_mail_is_shown_as_it_must_be(vector: Vector) -> None:
    """Subject, words, attachments and problems are right, nothing is lost, and a second reading says the same."""
    began = time.process_time()
    parsed = parse(vector.raw, cleaner())
    assert time.process_time() - began < _SECONDS
    rendition = parsed.rendition
    read = page(rendition)
    assert rendition.heading.subject == vector.subject
    assert [said for said in vector.says if said not in read] == []
    assert [said for said in vector.silent if said in read] == []
    assert (rendition.html is not None) is vector.html
    assert [(one.name, one.media_type, one.kind) for one in rendition.parts] == [
        (one.name, one.media_type, one.kind) for one in vector.parts
    ]
    assert [one.size for one in rendition.parts] == [len(content) for content in parsed.contents]
    sizes = zip(rendition.parts, vector.parts, strict=True)
    assert all(one.size == expected.size for one, expected in sizes if expected.size is not None)
    assert sum(one.heading is not None for one in rendition.enclosed) == vector.nested
    assert sum(one.heading is None for one in rendition.enclosed) == vector.more
    assert len(rendition.told) == vector.told
    assert rendition.problems == vector.problems
    assert [kept for kept in vector.kept if lost(kept, parsed, read)] == []
    assert load(dump(rendition)) == rendition
    assert parse(bytearray(vector.raw), Cleaner()).rendition == rendition
    check_references(parsed)


def check_references(parsed: Parsed) -> None:
    """What belongs to an attachment names one that is there."""
    parts = {part.id: part for part in parsed.rendition.parts}
    assert list(parts) == [str(number + 1) for number in range(len(parsed.contents))]
    messages = {one.part for one in parsed.rendition.enclosed if one.part}
    assert {part.within for part in parts.values()} <= messages | {""}
    assert {one.within for one in parsed.rendition.enclosed} <= messages | {""}
    assert messages | {told.part for told in parsed.rendition.told} <= set(parts)


@pytest.mark.parametrize("certificates", [True, False])
def test_what_a_real_program_signed_is_read(certificates: bool) -> None:
    """With certificates, digests and a signature around it; the words come out as they went in, whoever signed them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, when = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Carol")]), datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    card = made.not_valid_before(when).not_valid_after(when + timedelta(days=1)).sign(key, hashes.SHA256())
    words = b"Content-Type: text/plain\r\n\r\nSigned words.\r\n"
    builder = pkcs7.PKCS7SignatureBuilder().set_data(words).add_signer(card, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.Binary, *([] if certificates else [pkcs7.PKCS7Options.NoCerts])]
    assert words_of(builder.sign(serialization.Encoding.DER, options)) == words
    detached = builder.sign(serialization.Encoding.DER, [*options, pkcs7.PKCS7Options.DetachedSignature])
    assert words_of(detached) is None


def test_certificates_without_end_cost_little() -> None:
    """A million of them around a word; with more the words stay in the attachment."""
    began = time.process_time()
    assert words_of(opaque(b"word", "06092a864886f70d010701", der(0xA0, b"\x05\x00" * 1_000_000))) == b"word"
    assert words_of(opaque(b"word", "06092a864886f70d010701", der(0xA0, b"\x05\x00" * 3_000_000))) is None
    assert time.process_time() - began < _SECONDS


def test_no_html_holds_anothers_words() -> None:
    """However markup is left open in one part, nothing of the next one is in its document (EFAIL)."""
    attack = next(vector for vector in CORPUS if vector.name == "efail-in-one-mail")
    first, second, third = documents(parse(attack.raw, cleaner()).rendition)
    assert "secret" not in f"{first[1]}{third[1]}"
    assert (second[1], second[0].strip()) == (None, "the secret words")


_SMALL = [vector for vector in CORPUS if len(vector.raw) < 5000]
_PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"--B--\r\n",
    b"\xff\xfe",
    b"=?utf-8?b?",
    b'"',
    b";",
    b"<",
    b">",
    b"--",
    b"Content-Type: ",
]


@settings(max_examples=300)
@given(st.sampled_from(_SMALL), st.integers(0, 2**32), st.integers(1, 10))
def test_mutated_mail_never_raises(vector: Vector, seed: int, changes: int) -> None:
    """A mail of the corpus with bytes changed, dropped, doubled and moved is answered in time, and what is answered can be stored."""
    chance = random.Random(seed)
    raw = bytearray(vector.raw)
    for _ in range(changes):
        at, width = chance.randrange(len(raw) + 1), chance.choice((0, 1, 1, 4, 40, 400))
        other = chance.choice(_SMALL).raw
        begin = chance.randrange(len(other) + 1)
        new = (
            b"",
            chance.choice(_PIECES),
            bytes(raw[at : at + width]) * 2,
            other[begin : begin + width],
            chance.randbytes(width),
        )
        raw[at : at + width] = chance.choice(new)
    began = time.process_time()
    parsed = parse(bytes(raw), cleaner())
    assert time.process_time() - began < _SECONDS
    if "unparsable" in parsed.rendition.problems:  # for its headers, not for a fault of ours
        with pytest.raises(Unparsable):
            tree(raw)
    assert load(dump(parsed.rendition)) == parsed.rendition
    assert [part.size for part in parsed.rendition.parts] == [len(content) for content in parsed.contents]
    check_references(parsed)


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(_SMALL), min_size=1, max_size=4),
    st.sampled_from(("mixed", "alternative", "related", "digest")),
)
def test_mails_in_a_mail_stay_apart(inside: list[Vector], kind: str) -> None:
    """Mails of the corpus put into another as messages each keep their own words."""
    mark = b"=_around"
    parts = b"".join(b"--" + mark + b"\r\nContent-Type: message/rfc822\r\n\r\n" + one.raw + b"\r\n" for one in inside)
    head = b"Subject: around\r\nContent-Type: multipart/" + kind.encode() + b"; boundary=" + mark + b"\r\n\r\n"
    parsed = parse(head + parts + b"--" + mark + b"--\r\n", cleaner())
    assert parsed.rendition.heading.subject == "around"
    assert load(dump(parsed.rendition)) == parsed.rendition
    outer = [
        bytes(content) for part, content in zip(parsed.rendition.parts, parsed.contents, strict=True) if not part.within
    ]
    assert outer == [one.raw for one in inside]
    check_references(parsed)


@given(st.text(alphabet="a> -\n", max_size=200), st.booleans())
def test_flowed_text_keeps_its_words(text: str, delsp: bool) -> None:
    """Whatever is joined, all letters are there in their order, and no line is added."""
    found = unflowed(text, delsp)
    assert found.replace("\n", "").count("a") == text.count("a")
    assert found.count("\n") <= text.count("\n")
