"""Every error has its place in both maps, and none says aloud what is for operators."""

from datetime import timedelta

import pytest

from portal.model import errors
from portal.model.errors import PortalError, SubmissionFailed, TooManyTries
from portal.web.errors import STATUS, minutes, status_of

EVERY = sorted(
    (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, PortalError)),
    key=lambda one: one.__name__,
)


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_can_be_said_aloud(kind: type[PortalError]) -> None:
    """A sentence for people, with an end, that names no class, table or file."""
    assert kind.say.endswith(".")
    assert kind.__name__ not in kind.say
    assert kind.__doc__ or kind.say != PortalError.say


def test_what_may_pass_is_told_to_come_again() -> None:
    """Transient errors are the house's own or a throttle: 503 and 429; none of them says that something is not there."""
    transient = {one for one in STATUS if one.transient}
    assert {STATUS[one] for one in transient} == {503, 429}
    assert {one for one, status in STATUS.items() if status == 503} <= transient


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), KeyError("x"), PortalError("x")])
def test_what_nobody_foresaw_is_an_error_of_ours(error: Exception) -> None:
    """Anything that is in no map answers 500."""
    assert status_of(error) == 500


def test_waits_are_said_in_whole_minutes() -> None:
    """Never zero, always rounded up; a wait without end has none."""
    assert [minutes(timedelta(seconds=one)) for one in (0, 1, 60, 61)] == [1, 1, 1, 2]
    assert minutes(None) == 1
    assert TooManyTries("x").wait is None


def test_a_failed_submission_says_whether_it_may_have_been_taken() -> None:
    """Clear unless said otherwise, and transient as the host says."""
    assert not SubmissionFailed("x", transient=True).unclear
    assert SubmissionFailed("x", transient=True, unclear=True).unclear
