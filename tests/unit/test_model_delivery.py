"""The rules of a delivery: how it moves, and who may read it. Every state, every step, every reason."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.model.access import Access, Deny, Purpose, Reader, Target, may_read
from portal.model.assurance import Assurance
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId
from portal.model.message import ENDED, READABLE, STOPPED, DeliveryState, Progress, Step, Stopped, after

NOW = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
READER = Reader(RecipientId("alice"), OrgId("north"), Assurance.MAILBOX, "session", "192.0.2.7")
TARGET = Target(
    OrgId("north"), MessageId("m"), DeliveryId("d"), RecipientId("alice"), DeliveryState.NOTICED, NOW + timedelta(days=1),
    Assurance.MAILBOX,
)  # fmt: skip
MOMENTS = st.none() | st.datetimes(timezones=st.just(UTC))
PROGRESS = st.builds(Progress, MOMENTS, MOMENTS, MOMENTS, st.none() | st.sampled_from(Stopped))


def test_every_state_is_readable_or_ended_or_stopped() -> None:
    """No state is two of them or none."""
    assert sorted(DeliveryState) == sorted([*READABLE, *ENDED, *STOPPED])


@given(st.sampled_from(DeliveryState), st.sampled_from(Step), PROGRESS)
def test_a_step_leads_where_it_says(state: DeliveryState, step: Step, progress: Progress) -> None:
    """Ending steps end, returning steps bring back what it was, and what is disposed of or quarantined never is readable again."""
    then = after(state, step, progress)
    if state is DeliveryState.DISPOSED:
        assert then is None
    if then is None:
        return
    ends = {Step.EXPIRE: "expired", Step.REVOKE: "revoked", Step.DISPOSE: "disposed", Step.QUARANTINE: "quarantined"}
    ends[Step.GRADUATE] = "graduated"
    if step in ends:
        assert then.value == ends[step]
    elif step in (Step.RESTORE, Step.EXTEND):
        assert then is progress.state()
        assert (then in READABLE) == (progress.stopped is None)
    else:
        assert then in READABLE
    if state is DeliveryState.QUARANTINED:
        assert step is Step.DISPOSE
    if state is DeliveryState.UNSCANNED and then in READABLE:
        assert step is Step.RELEASE or (step is Step.EXTEND and progress.stopped is None)


@given(st.lists(st.sampled_from(Step), max_size=30))
def test_however_a_delivery_moves_only_restoring_and_extending_bring_it_back(steps: list[Step]) -> None:
    """Walking any steps, a delivery that ended becomes readable again by those two alone, and never after disposal."""
    state, progress, number = DeliveryState.HELD, Progress(), 0
    for step in steps:
        number += 1
        then = after(state, step, progress)
        if then is None:
            continue
        if state in ENDED and then in READABLE:
            assert step in (Step.RESTORE, Step.EXTEND)
            assert state is not DeliveryState.DISPOSED
        at = NOW + timedelta(seconds=number)
        if step is Step.NOTICE:
            progress = replace(progress, noticed_at=progress.noticed_at or at)
        elif step is Step.OPEN:
            progress = replace(progress, opened_at=progress.opened_at or at)
        elif step is Step.REPLY:
            progress = replace(progress, replied_at=at)
        elif step is Step.QUARANTINE:
            progress = replace(progress, stopped=Stopped.INFECTED)
        assert progress.stopped is None or then not in READABLE
        if step in (Step.NOTICE, Step.OPEN, Step.REPLY):
            assert list(DeliveryState).index(then) >= list(DeliveryState).index(state)
        state = then
    assert state in ENDED | STOPPED or list(DeliveryState).index(state) <= list(DeliveryState).index(
        DeliveryState.REPLIED
    )


@pytest.mark.parametrize("state", DeliveryState)
@pytest.mark.parametrize("needs", Assurance)
@pytest.mark.parametrize("has", Assurance)
def test_the_decision_is_the_same_for_every_purpose(state: DeliveryState, needs: Assurance, has: Assurance) -> None:
    """Readable, in time, hers and strong enough: only then there is an Access; the reason is the first that holds."""
    reader, target = replace(READER, assurance=has), replace(TARGET, state=state, needs=needs)
    ended = "stopped" if state in STOPPED else state.value if state in ENDED else None
    expected = ended or ("assurance" if has < needs else None)
    for purpose in Purpose:
        decision = may_read(reader, target, purpose, NOW)
        assert (decision.reason if isinstance(decision, Deny) else None) == expected
        late = may_read(reader, target, purpose, target.expires_at)
        assert isinstance(late, Deny)
        assert late.reason == (ended or "expired")


@given(st.sampled_from(DeliveryState), st.booleans(), st.booleans(), st.sampled_from(Assurance))
def test_of_what_is_not_yours_nothing_is_told(state: DeliveryState, org: bool, person: bool, needs: Assurance) -> None:
    """Another's delivery is foreign whatever its state; the same person at another organisation is another."""
    target = replace(TARGET, state=state, needs=needs)
    target = replace(target, org_id=OrgId("south")) if org else target
    target = replace(target, recipient_id=RecipientId("bob")) if person else target
    decision = may_read(READER, target, Purpose.BODY, NOW)
    assert (decision == Deny("foreign")) == (org or person)


def test_an_access_says_who_reads_what() -> None:
    """What an Access says of itself is what the record will say."""
    access = may_read(READER, TARGET, Purpose.ATTACHMENT, NOW, "3")
    assert isinstance(access, Access)
    facts = access.facts()
    assert (facts["actor"], facts["delivery_id"], facts["session"], facts["at"]) == ("alice", "d", "session", NOW)
    assert (access.part, access.purpose) == ("3", Purpose.ATTACHMENT)
