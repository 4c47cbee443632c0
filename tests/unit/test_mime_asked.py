"""What a mail's own header asks of the portal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime.asked import Asked, asked_of
from portal.model.errors import AskedMalformed
from portal.model.phones import number, partly_hidden


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
