"""What a mail's own header asks of the portal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime.asked import Asked, asked_of
from portal.mime.heading import answered
from portal.model.errors import AskedMalformed
from portal.model.phones import number, partly_hidden
from portal.sealing.chosen import check_code, plain


def test_a_header_without_wishes_asks_nothing() -> None:
    """The usual mail."""
    assert asked_of(b"From: carol@clinic.example\r\nSubject: x\r\n") == Asked()


def test_wishes_are_read_whatever_their_case_and_folding() -> None:
    """RFC 5322 2.2.3: folded; RFC 2047: encoded."""
    block = (
        b"x-portal-CLASS:\r\n results\r\nX-Portal-Access-Code: =?utf-8?q?bl=C3=BCtezeit?=\r\n"
        b"X-Portal-Access-Hint: What the\r\n garden does\r\nX-Portal-Phone: +1 (555) 010-0042\r\n"
    )
    assert asked_of(block) == Asked("results", "blütezeit", "What the garden does", "+15550100042")


@given(st.binary(max_size=2000))
def test_any_bytes_ask_something_or_are_refused(block: bytes) -> None:
    """Total: a wish or a refusal, never anything else."""
    try:
        asked = asked_of(b"X-Portal-Class: " + block)
    except AskedMalformed:
        return
    assert asked.cls is None or asked.cls.isascii()


NAMES = st.sampled_from(
    [b"X-Portal-Class", b"x-portal-access-code", b"X-PORTAL-PHONE", b"X-Portal-Access-Hint", b"Subject"]
)
LINES = st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=8)


@given(LINES, st.sampled_from([b"\r\n", b"\n"]), st.binary(max_size=200))
def test_what_is_asked_is_asked_in_the_header(lines: list[tuple[bytes, bytes]], end: bytes, body: bytes) -> None:
    """Whatever the body is, it changes nothing; and a field that stands there is never passed over."""
    fields = [(name, value.translate(None, b"\r\n")) for name, value in lines]
    header = b"".join(b"%b: %b%b" % (name, value, end) for name, value in fields)
    try:
        asked = asked_of(header + end + body)
    except AskedMalformed:
        with pytest.raises(AskedMalformed):
            asked_of(header)
        return
    assert asked == asked_of(header)
    said = {name.lower() for name, _ in fields}
    assert (asked.cls is not None) == (b"x-portal-class" in said)
    assert (asked.access_code is not None) == (b"x-portal-access-code" in said)
    assert (asked.phone is not None) == (b"x-portal-phone" in said)


@given(st.permutations([b"References: <a@x> <b@x>\n", b"In-Reply-To: <b@x> <c@x>\n", b"Subject: <d@x>\n"]))
def test_a_mail_answers_all_that_it_names(fields: list[bytes]) -> None:
    """Both fields, in any order, each id once."""
    assert answered(b"".join(fields) + b"\nReferences: <e@x>\n") == ("<a@x>", "<b@x>", "<c@x>")


@given(st.binary(max_size=400))
def test_any_bytes_answer_something_or_nothing(block: bytes) -> None:
    """Total, and at most fifty."""
    assert len(answered(b"References: " + b"<a@x>" * 60 + block)) <= 50


@given(st.text(max_size=80), st.text(max_size=130))
def test_a_code_that_passes_can_be_hashed_and_is_hard_enough(code: str, hint: str) -> None:
    """Six signs or more are left in the form that is hashed; else it is refused, and never anything else."""
    try:
        check_code(code, hint)
    except AskedMalformed:
        return
    assert 6 <= len(plain(code)) <= 64
    assert len(set(plain(code))) >= 3


@given(st.text("abcdefgh23456789", min_size=6, max_size=20), st.sampled_from(["", " ", "-", "\u2013"]))
def test_a_hint_with_the_code_in_it_is_refused(code: str, between: str) -> None:
    """Also with dashes between its signs, and in capitals."""
    with pytest.raises(AskedMalformed):
        check_code(code, f"it is {between.join(code).upper()} !")


@given(st.text(max_size=60))
def test_a_number_is_in_normal_form_or_none(text: str) -> None:
    """E.164: a plus, eight to fifteen digits; read again it is itself."""
    try:
        found = number(text)
    except ValueError:
        return
    assert found[0] == "+"
    assert found[1:].isdigit()
    assert 8 <= len(found) - 1 <= 15
    assert number(found) == found
    assert found[2:-2] not in partly_hidden(found)


def test_secrets_are_not_in_its_repr() -> None:
    """Neither code nor hint nor number comes into a log by accident."""
    asked = asked_of(
        b"X-Portal-Access-Code: canary-code\r\nX-Portal-Access-Hint: canary hint\r\nX-Portal-Phone: +15550100042\r\n"
    )
    assert "canary" not in repr(asked)
    assert "+1555" not in repr(asked)


@pytest.mark.parametrize("extra", ["", "X-Portal-Klass: x\r\n", "X-Portal-: x\r\n"])
def test_misspelt_fields_are_refused(extra: str) -> None:
    """A wish that nobody reads would be a promise broken."""
    block = f"X-Portal-Class: a\r\n{extra}".encode()
    if extra:
        with pytest.raises(AskedMalformed):
            asked_of(block)
    else:
        assert asked_of(block).cls == "a"
