"""Ranges of bytes: what is asked for, what is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.ranges import Unsatisfiable, wanted

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "if_range", "expected"),
    [
        (None, None, None),
        ("bytes=0-99", None, (0, 100)),
        ("bytes=0-", None, (0, 1000)),
        ("bytes=999-5000", None, (999, 1000)),
        ("bytes=-1", None, (999, 1000)),
        ("bytes=-5000", None, (0, 1000)),
        ("bytes = 5 - 9", None, (5, 10)),
        ("bytes=5-9", '"tag"', (5, 10)),
        ("bytes=5-9", '"other"', None),
        ("bytes=5-9", 'W/"tag"', None),
        ("bytes=5-9", "Sat, 21 Nov 2026 10:42:00 GMT", None),
        ("bytes=9-5", None, None),
        ("bytes=0-1,5-6", None, None),
        ("lines=0-1", None, None),
        ("bytes=a-b", None, None),
        ("bytes=\u0661-", None, None),
        ("bytes=0-" + "9" * 400, None, None),
    ],
)
def test_a_single_range_is_served_and_all_else_is_the_whole(
    header: str | None, if_range: str | None, expected: tuple[int, int] | None
) -> None:
    """Open ends, suffixes and ends beyond the end; a tag that is not ours asks for the whole."""
    assert wanted(header, if_range, "tag", SIZE) == expected


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=-"])
def test_beyond_the_end_is_said_so(header: str) -> None:
    """What no byte answers is refused."""
    with pytest.raises(Unsatisfiable):
        wanted(header, None, "tag", SIZE)


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_whatever_is_asked_the_answer_lies_within(header: str, size: int) -> None:
    """Never a byte before the beginning or behind the end, and never none at all."""
    try:
        found = wanted(header, None, "tag", size)
    except Unsatisfiable:
        return
    assert found is None or 0 <= found[0] < found[1] <= size
