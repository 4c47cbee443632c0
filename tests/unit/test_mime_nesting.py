"""Depth is estimated in three steps, from the quickest to the exact: none of the quick ones says less than the exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.mime.nesting import at_most, bound, deepest, is_deep

_NAMES = [
    "a",
    "b",
    "i",
    "p",
    "div",
    "li",
    "ul",
    "td",
    "tr",
    "table",
    "tbody",
    "select",
    "svg",
    "font",
    "dd",
    "dt",
    "br",
    "button",
]
_PIECES = [f"<{one}>" for one in _NAMES] + [f"</{one}>" for one in _NAMES]
_PIECES += [
    "<b class=x>",
    "<TD>",
    "</Td>",
    "text",
    "<font a=1>",
    "</font >",
    "<p/>",
    "<",
    "</",
    ">",
    "<p-x>",
    "</p-x>",
    "<\u212a>",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
def test_quick_steps_never_say_less(html: str) -> None:
    """Whatever is not ended, ended twice, or ended in another order."""
    exact = deepest(html, 1000)
    assert at_most(html) >= exact
    assert bound(html) >= exact


@pytest.mark.parametrize(
    ("html", "deep"),
    [("<div>" * 9, False), ("<div>" * 10, True), ("<p>" * 99, False), ("<b><div></b>" * 10, True),
     ("<div><i>x</i></div>" * 99, False), ("<div></div>" * 99, False)],
)  # fmt: skip
def test_deep_is_what_nests_ten_deep(html: str, deep: bool) -> None:
    """What outlives the end of the formatting around it counts; what was closed does not."""
    assert is_deep(html, 10) is deep
