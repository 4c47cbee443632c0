"""One rule for addresses: what is one mailbox, and what is two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.model.parties import address, name_server


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Alice@Patients.Example", "alice@patients.example"),
        ("alice@patients.example.", "alice@patients.example"),
        ("alice@BÜCHER.example", "alice@xn--bcher-kva.example"),
        ("JOSÉ@patients.example", "jose\u0301@patients.example"),
        (" alice@patients.example ", "alice@patients.example"),
    ],
)
def test_the_same_mailbox_is_the_same_recipient(one: str, other: str) -> None:
    """Case, the domain's final dot, IDNA and composed letters make no difference."""
    assert address(one) == address(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice+lab@patients.example", "alice@patients.example"),
        ("al.ice@patients.example", "alice@patients.example"),
        ("alice@patients.example", "alice@mail.patients.example"),
        ("josé@patients.example", "jose@patients.example"),
        ("alice@bücher.example", "alice@bucher.example"),
        ("\u0430lice@patients.example", "alice@patients.example"),  # a Cyrillic letter
    ],
)
def test_two_mailboxes_are_two_recipients(one: str, other: str) -> None:
    """Tags, dots, accents and look-alikes are kept apart: merging would show one's mail to another."""
    assert address(one) != address(other)


@given(st.text(min_size=1, max_size=30), st.sampled_from(["patients.example", "bücher.example", "ΠΑΡΆΔΕΙΓΜΑ.example"]))
def test_read_again_an_address_is_itself(local: str, domain: str) -> None:
    """The normal form is stable: a second reading finds the same recipient."""
    try:
        first = address(f"{local}@{domain}")
    except ValueError:
        return
    assert address(str(first)) == first


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("::1", ("::1", 53)),
        ("2001:db8::53:5353", ("2001:db8::53:5353", 53)),
        ("[::1]", ("::1", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        *(
            (text, None)
            for text in ("", "ns.example", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "[192.0.2.53]:53")
        ),
        *((text, None) for text in ("[::1", "::1]:53", "[::1]53", "[::1]:x", "192.0.2.53:5353:1", "192.0.2.53:\u0665")),
    ],
)
def test_a_name_server_is_an_address_and_perhaps_a_port(text: str, told: tuple[str, int] | None) -> None:
    """An IPv6 address that a port follows stands in brackets (RFC 3986 3.2.2); a name would need a name server itself."""
    if told is None:
        with pytest.raises(ValueError, match="not a name server"):
            name_server(text)
    else:
        assert name_server(text) == told
