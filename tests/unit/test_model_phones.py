"""Telephone numbers: what people write, the one form in which it is kept, and how little of it is shown."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portal.model.phones import number, partly_hidden

E164 = re.compile(r"\+[1-9][0-9]{7,14}")
NUMBERS = st.from_regex(E164, fullmatch=True)
BETWEEN = st.text(" -./()\t\u00a0\u2010\u2011\u2012\u2013", max_size=1)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("+15550100000", "+15550100000"),
        ("+1 (555) 010-0000", "+15550100000"),
        ("+1.555.010.0000", "+15550100000"),
        (" +44 20 7946 0000 ", "+442079460000"),
        ("+49 (30) 23125\u2013000", "+493023125000"),
        ("+39 06 1234 5678", "+390612345678"),
        ("+33\u00a01\u00a099\u00a000\u00a000\u00a000", "+33199000000"),
        ("+12345678", "+12345678"),
        ("+123456789012345", "+123456789012345"),
    ],
)
def test_one_line_has_one_form(written: str, kept: str) -> None:
    """Spaces, brackets, dots and dashes of several kinds make no other number."""
    assert number(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        "",
        "+",
        "555 0100",
        "1 555 010 0000",
        "001 555 010 0000",
        "0044 20 7946 0000",
        "+0 555 010 0000",
        "+1234567",
        "+1234567890123456",
        "++15550100000",
        "+1555+0100000",
        "15550100000+",
        "+1 555 010 0000 x12",
        "+1 555 010 0000;ext=12",
        "tel:+15550100000",
        "+1 800 FLOWERS",
        "+15550100000\n",
        "+15550100000\r\nBcc: mallory@evil.example",
        "+1555010\x000000",
        "+\u0661\u0665\u0665\u0665\u0660\u0661\u0660\u0660\u0660\u0660\u0660",
        "+1555010000\uff10",
        "+1555010000\u00b2",
        "\uff0b15550100000",
        "\u202e+15550100000",
        "+1 555 010 0000, +1 555 010 0001",
        "+44 (0)20 7946 0000",
        "+15550100000" + " " * 40,
    ],
    ids=ascii,
)
def test_what_is_no_number_is_refused(written: str) -> None:
    """No country's code, too short or long, other signs, other scripts' digits, two of them, or a zero that may not count."""
    with pytest.raises(ValueError, match=r"^not a telephone number$"):
        number(written)


@given(st.data(), NUMBERS)
def test_however_it_is_grouped_it_is_the_same_number(data: st.DataObject, kept: str) -> None:
    """Separators may stand between any two digits; only "(0)" is refused, for what it says."""
    written = "".join(sign + data.draw(BETWEEN) for sign in kept)
    assume("(0)" not in written)
    assert number(written) == kept


@given(NUMBERS)
def test_the_form_that_is_kept_stays(kept: str) -> None:
    """Read again, it is the same."""
    assert number(kept) == kept


@given(st.text() | st.text("+0123456789 ()-\u0660\uff11\u00b2\n", max_size=24))
def test_whatever_is_written_gives_a_number_or_a_refusal(written: str) -> None:
    """E.164 in ASCII, or ValueError; and the refusal does not repeat what was written."""
    try:
        read = number(written)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert E164.fullmatch(read)
        assert re.sub(r"[^0-9]", "", written) == read[1:]
    assert refused in ("", "not a telephone number")


@given(NUMBERS)
def test_three_digits_are_shown_at_most(kept: str) -> None:
    """The first and the last two: enough for its owner to know it by."""
    shown = partly_hidden(kept)
    assert len(re.findall(r"[0-9]", shown)) == 3
    assert (shown[:2], shown[-2:]) == (kept[:2], kept[-2:])


def test_a_number_is_shown_partly_hidden() -> None:
    """As the pages show it."""
    assert partly_hidden("+15550100000") == "+1… 00"
