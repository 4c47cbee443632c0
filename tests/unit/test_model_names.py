"""Addresses, links, codes and ids: what people type, and the one form in which it is kept."""

import string
import unicodedata
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portal.model import links
from portal.model.ids import is_id, uuid7
from portal.model.parties import address, domain_name
from portal.model.reply import FileLabel, ReplyText, reply_subject

WHEN = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9000, 1, 1), timezones=st.just(UTC))
SIXTEEN = st.binary(min_size=16, max_size=16)


# -- addresses


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Alice@Patients.EXAMPLE", "alice@patients.example"),
        (" alice@patients.example. ", "alice@patients.example"),
        ("a.b+c@patients.example", "a.b+c@patients.example"),
        ("josé@patients.example", "josé@patients.example"),
        ("jose\u0301@patients.example", "josé@patients.example"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
    ],
)
def test_one_mailbox_has_one_form(written: str, kept: str) -> None:
    """Case, spaces, a final dot and the two ways to write an accent make no other mailbox."""
    assert str(address(written)) == kept
    assert str(address(kept)) == kept


@pytest.mark.parametrize(
    "text",
    [
        "", "alice", "@patients.example", "alice@", "alice@@", "a b@x.example", "a\r\nb@x.example", "a\x00@x.example", "<a>@x.example",
        '"a b"@x.example', ".a@x.example", "a.@x.example", "a..b@x.example", "a@[192.0.2.1]", "a@x..example", "a@-x.example",
        "a@x.example\r\nBcc:b", "a" * 65 + "@x.example", "a@" + "x" * 64 + ".example", "a@" + "x." * 130 + "example",
        "=?utf-8?q?a?=@x.example", "a,b@x.example", "a;b@x.example", "a:b@x.example",
        "a@x_\u202e.example", "a\u202eb@x.example", "a\x85b@x.example", "a\u2028b@x.example", "a@straße.example",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Nothing that could be read in two ways, or break out of a header, passes for an address."""
    with pytest.raises(ValueError, match=r"address|domain"):
        address(text)


@given(st.text(max_size=80))
def test_every_text_is_an_address_or_refused(text: str) -> None:
    """No text makes another error; what passes has one form, no space and no control."""
    try:
        found = address(text)
    except ValueError:
        return
    assert str(address(str(found))) == str(found)
    assert found.domain.isascii()
    assert not any(unicodedata.category(sign)[0] in "CZ" for sign in found.local)
    assert len(str(found).splitlines()) == 1


@given(st.text(max_size=60))
def test_every_text_is_a_domain_or_refused(text: str) -> None:
    """A domain name is lower-case ASCII, and its own normal form."""
    try:
        name = domain_name(text)
    except ValueError:
        return
    assert name == name.lower()
    assert domain_name(name) == name
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-._")


def test_an_address_is_shown_partly_hidden() -> None:
    """First and last sign of a longer name, first of a short one, and the domain."""
    assert address("alice@patients.example").partly_hidden() == "a…e@patients.example"
    assert address("al@patients.example").partly_hidden() == "a…@patients.example"


# -- links and codes


@given(SIXTEEN)
def test_references_and_codes_are_read_as_they_are_written(random: bytes) -> None:
    """With or without dashes and spaces, small or capital, what was made is read back; and it has its form."""
    made, code = links.reference(random), links.code(random)
    assert len(made) == 12
    assert not set(made) & set("01IO")
    for typed in (
        made,
        made.lower(),
        made.replace("-", ""),
        f" {made.replace('-', ' - ')} ",
        made.replace("-", "\u2013"),
    ):
        assert links.read_reference(typed) == made
    assert len(code) == 8
    for typed in (code, f"{code[:4]} {code[4:]}", f"{code[:4]}-{code[4:]}", f"\u00a0{code}"):
        assert links.read_code(typed) == code


@given(st.text(max_size=40))
def test_anything_typed_is_a_reference_a_code_or_nothing(typed: str) -> None:
    """No text raises; digits of other scripts are no code."""
    code, reference = links.read_code(typed), links.read_reference(typed)
    assert code is None or (code.isascii() and code.isdigit() and len(code) == 8)
    assert reference is None or len(reference) == 12


def test_keyed_hashes_keep_their_fields_and_keys_apart() -> None:
    """Another key, another field or another cut between fields gives another hash."""
    made = {
        links.keyed_hash(key, *fields)
        for key in (b"k", b"l")
        for fields in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("", "ab"))
    }
    assert len(made) == 10
    assert len(links.token_hash("\udcff")) == 32


@given(st.binary(min_size=32, max_size=32))
def test_a_token_is_43_signs_of_a_url(random: bytes) -> None:
    """Nothing in a token needs quoting, and each random value has its own."""
    token = links.link_token(random)
    assert len(token) == 43
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")


# -- ids


@given(WHEN, st.binary(min_size=8, max_size=8))
def test_an_id_is_a_uuid_of_version_7_with_its_time(at: datetime, random: bytes) -> None:
    """RFC 9562 5.7: version, variant, and the milliseconds since 1970 in the first 48 bits."""
    made = uuid7(at, random)
    number = UUID(made)
    assert number.version == 7
    assert is_id(made)
    assert not is_id(made.upper()) or made == made.upper()
    assert number.int >> 80 == (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@given(WHEN, st.integers(1, 10**9), st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_ids_sort_by_the_time_they_were_made(at: datetime, micros: int, one: bytes, other: bytes) -> None:
    """Ids a microsecond apart sort, whatever is random in them."""
    assert uuid7(at, one) < uuid7(at + timedelta(microseconds=micros), other)


@pytest.mark.parametrize(
    "text", ["", "x", "{01a1fdb2-dcc0-706a-9d6a-be19c0bab1d0}", "01a1fdb2dcc0706a9d6abe19c0bab1d0", "\u0661" * 36]
)
def test_an_id_is_written_one_way(text: str) -> None:
    """What the library would read as a UUID and we did not write is no id."""
    assert not is_id(text)


# -- replies


@given(st.text(alphabet="RrEe: x", max_size=20))
@example(" RE:")
def test_an_answers_subject_has_one_re(subject: str) -> None:
    """However often a thread was answered."""
    made = reply_subject(subject)
    assert made.startswith("Re:")
    assert not made[3:].strip().lower().startswith("re:")


@given(st.text(max_size=20), st.lists(st.text(max_size=10), max_size=3))
def test_a_reply_is_read_as_it_was_sealed(text: str, names: list[str]) -> None:
    """Text, ids and labels come back as they were."""
    files = tuple(FileLabel("id", name, "application/pdf", 3, "ab") for name in names)
    reply = ReplyText("carol@clinic.example", "alice@patients.example", text, "<1@x>", ("<0@x>",), text, files)
    assert ReplyText.load(reply.dump()) == reply
