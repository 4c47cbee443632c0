"""Secrets that people choose: one form whatever they type, hashed without keeping others waiting."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.sealing.chosen import hashed, matches, plain


@pytest.mark.parametrize("typed", ["Blue Tractor", "blue-tractor", " BLUE\u2010TRACTOR ", "\uff22lue tractor"])
def test_a_code_is_the_same_however_it_is_typed(typed: str) -> None:
    """Case, spaces, dashes and full-width letters are forgiven."""
    assert plain(typed) == "bluetractor"


@given(st.text(max_size=300))
def test_any_text_is_a_code_or_refused(text: str) -> None:
    """Total, and stable: a second reading changes nothing."""
    try:
        signs = plain(text)
    except ValueError:
        return
    assert 0 < len(signs) <= 64
    assert plain(signs) == signs


def test_an_accent_typed_apart_is_one() -> None:
    """A dead key that did not take."""
    assert plain("A\u00b4rbol-7") == plain("\u00e1rbol 7")


def test_many_at_once_are_checked_in_any_loop() -> None:
    """Contended in one event loop and then in another: a lock of the first would refuse the second."""

    async def contended() -> list[bool]:
        kept = await hashed("blue tractor")
        return await asyncio.gather(*(matches(one, kept) for one in ("BLUE-TRACTOR", "x", "", "\x00", "blue tracto")))

    assert [asyncio.run(contended()) for _ in range(2)] == [[True, False, False, False, False]] * 2
    assert asyncio.run(matches("x", None)) is False
