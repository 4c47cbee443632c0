"""The recipes of docs/RELAY.md with somebody's own names in them."""

import re

import pytest

from portal.orgs.recipe import KINDS, Names, postfix, recipe

NAMES = Names(
    "mx.portal.example.org",
    "2599",
    "bounces.portal.example.org",
    "hello@south.example",
    ("south.example", "s.example"),
    "me",
    "pw",
)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_example_is_left(kind: str) -> None:
    """Host, port, domains and credential are the organisation's, also where they contain the example's; each recipe has some block."""
    blocks = recipe(kind, NAMES)
    assert blocks
    text = "".join(one.text for one in blocks)
    assert not re.search(r"portal\.example(?!\.org)|2526|USERNAME|PASSWORD", text)
    assert "portal.example.org.org" not in text


def test_postfix_has_each_domain_and_the_password() -> None:
    """The block for a client certificate is not among those with a password."""
    main, password, master = postfix(NAMES)
    assert "relay_domains = south.example, s.example, bounces.portal.example.org\n" in main.text
    assert "{ s.example = internal:" in main.text
    assert "{ @s.example = OK }" in main.text
    assert "smtp_fallback_relay = [mx.portal.example.org]:2599\n" in main.text
    assert password.text == "[mx.portal.example.org]:2599 me:pw\n"
    assert "smtpd" in master.text
    assert "smtp_sasl_auth_enable = no" not in main.text
