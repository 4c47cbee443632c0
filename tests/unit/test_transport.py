"""The parsers behind a verdict: MTA-STS policies and records, TLSA records, host patterns."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.transport.dane import Tlsa
from portal.transport.sts import Policy, PolicyRefused, matches, parse

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example\r\nmx: *.backup.example\r\nmax_age: 604800\r\n"


def test_a_policy_is_read_as_the_rfc_writes_it() -> None:
    """RFC 8461 3.2: CRLF or LF, unknown fields are passed over, of a field that stands twice the first counts, `mx` adds up."""
    wanted = Policy("1", "enforce", ("mx1.example", "*.backup.example"), NOW + timedelta(seconds=604800))
    twice = GOOD + "mode: none\r\nmax_age: 1\r\nfuture: yes\r\n\r\n"
    for text in (GOOD, GOOD.replace("\r\n", "\n"), twice, GOOD.replace(": ", ":\t ")):
        assert parse(text, "1", NOW) == wanted
    assert parse("version: STSv1\nmode: none\nmax_age: 0", "1", NOW).mx == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        GOOD.replace("STSv1", "STSv2"),
        GOOD.replace("version: STSv1\r\n", ""),
        GOOD.replace("enforce", "Enforce"),
        GOOD.replace("mode: enforce\r\n", ""),
        GOOD.replace("604800", "31557601"),
        GOOD.replace("604800", "-1"),
        GOOD.replace("604800", "1e3"),
        GOOD.replace("604800", "\u0661"),
        GOOD.replace("max_age: 604800\r\n", ""),
        GOOD.replace("mx: mx1.example\r\nmx: *.backup.example\r\n", ""),
        GOOD.replace("mx1.example", "mx*.example"),
        GOOD.replace("mx1.example", "*.*.example"),
        GOOD.replace("mx1.example", "mx1.example match=evil"),
        GOOD.replace("mx1.example", "mx1.example\x00"),
        GOOD + "mx: more.example\r\n" * 50,
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    """Nothing is guessed: a policy that can't be read is none, and the one before stands."""
    with pytest.raises(PolicyRefused):
        parse(text, "1", NOW)


@given(st.text(max_size=300))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    """Whatever a site answers, the parser ends, with one or the other."""
    try:
        found = parse("version: STSv1\nmode: testing\nmx: a.example\nmax_age: 5\n" + text, "1", NOW)
    except PolicyRefused:
        return
    assert found.expires_at == NOW + timedelta(seconds=5)


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("mx1.example", "MX1.example.", True),
        ("*.example", "mx1.example", True),
        ("*.example", "a.mx1.example", False),
        ("*.example", "example", False),
        ("*.example", ".example", False),
        ("*", "example", False),
        ("mx1.example", "mx1.example.evil", False),
        ("m*.example", "mx1.example", False),
    ],
)
def test_a_pattern_stands_for_one_label(pattern: str, host: str, fits: bool) -> None:
    """RFC 6125 6.4.3: a wildcard is the whole first label, and one label only."""
    assert matches(pattern, host) is fits


@pytest.mark.parametrize(
    ("usage", "selector", "matching", "length", "usable"),
    [
        (3, 1, 1, 32, True),
        (2, 0, 2, 64, True),
        (3, 0, 0, 900, True),
        (0, 1, 1, 32, False),
        (1, 1, 1, 32, False),
        (255, 1, 1, 32, False),
        (3, 2, 1, 32, False),
        (3, 1, 3, 32, False),
        (3, 1, 1, 31, False),
        (3, 1, 2, 32, False),
        (3, 0, 0, 0, False),
    ],
)
def test_only_records_for_mail_are_usable(usage: int, selector: int, matching: int, length: int, usable: bool) -> None:
    """RFC 7672 3.1: usages 2 and 3; selectors, matching types and lengths that RFC 6698 knows."""
    assert Tlsa(usage, selector, matching, b"x" * length).usable is usable
