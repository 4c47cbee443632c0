"""What ceremonies earn, who may change ways in, and how proofs are kept."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.model.assurance import (
    FRESH,
    MAILBOX,
    SECOND,
    Assurance,
    Method,
    Proof,
    earned,
    may_change_ways,
    reach,
    read_proofs,
    written,
)

ONE, TWO, THREE = Assurance.MAILBOX, Assurance.TWO_CHANNELS, Assurance.PASSKEY
NOW = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
PROOFS = st.builds(Proof, st.sampled_from(Method), st.sampled_from([ONE, TWO]))
SETS = st.frozensets(PROOFS, max_size=6)


def proof(method: Method, vouched: Assurance = TWO) -> Proof:
    return Proof(method, vouched)


@pytest.mark.parametrize(
    ("proofs", "level"),
    [
        ([], ONE),
        ([MAILBOX], ONE),
        ([MAILBOX, proof(Method.ACCESS_CODE)], TWO),
        ([MAILBOX, proof(Method.SMS)], TWO),
        ([MAILBOX, proof(Method.VOICE)], TWO),
        ([MAILBOX, proof(Method.APP)], TWO),
        ([MAILBOX, proof(Method.APP, ONE)], ONE),
        ([MAILBOX, proof(Method.RECOVERY_CODE)], TWO),
        ([MAILBOX, proof(Method.RECOVERY_CODE, ONE)], ONE),
        ([proof(Method.ACCESS_CODE)], ONE),
        ([proof(Method.PASSKEY)], THREE),
        ([proof(Method.PASSKEY, ONE)], ONE),
        ([proof(Method.PASSKEY, ONE), MAILBOX], ONE),
        ([proof(Method.PASSKEY, ONE), proof(Method.ACCESS_CODE)], THREE),
        ([proof(Method.PASSKEY, ONE), proof(Method.APP, ONE), MAILBOX], ONE),
    ],
)
def test_each_set_of_ceremonies_earns_its_level(proofs: list[Proof], level: Assurance) -> None:
    """1 the mailbox, 2 another channel beside it, 3 a passkey that counts."""
    assert earned(proofs) is level


@given(SETS, PROOFS)
def test_more_proof_never_earns_less(proofs: frozenset[Proof], more: Proof) -> None:
    """Whatever is shown beside, the level stays or rises."""
    assert earned([*proofs, more]) >= earned(proofs)


@given(SETS)
def test_what_a_mailbox_bound_lifts_nobody(proofs: frozenset[Proof]) -> None:
    """Without something that was vouched for, no number of ways leads above the mailbox."""
    assert earned([Proof(one.method, ONE) for one in proofs]) is ONE


@given(SETS)
def test_who_reaches_the_second_level_reaches_the_third(proofs: frozenset[Proof]) -> None:
    """A passkey can be added there; nobody else reaches anything."""
    assert reach(proofs) in (ONE, THREE)
    assert (reach(proofs) is THREE) == (earned([MAILBOX, *proofs]) >= TWO)


@given(SETS)
def test_proofs_are_read_as_they_were_written(proofs: frozenset[Proof]) -> None:
    """A session's row says what proved it."""
    assert read_proofs(written(proofs)) == proofs


@pytest.mark.parametrize("text", ["passkey", "passkey:9", "charm:1", "passkey:x"])
def test_what_is_no_proof_is_refused(text: str) -> None:
    """A row that was tampered with opens nothing."""
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        read_proofs(text)


def test_only_a_fresh_sign_in_as_strong_as_the_strongest_changes_ways() -> None:
    """Nothing enrolled: a code will do. A passkey: the passkey or a recovery code. An app: something beside the mailbox."""
    for last in Method:
        assert may_change_ways(last, set(), NOW, NOW)
        assert may_change_ways(last, {Method.PASSKEY}, NOW, NOW) == (last in {Method.PASSKEY, Method.RECOVERY_CODE})
        assert may_change_ways(last, {Method.APP}, NOW, NOW) == (last in SECOND)
        assert not may_change_ways(last, set(), NOW - FRESH - timedelta(seconds=1), NOW)
