"""How often codes are tried and sent: the counters, whoever presses how fast."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from portal.model.codes import SENDS_A_DAY, TRIES_AN_HOUR, TRIES_IN_ALL, Tries, one_more, wait_to_send, wait_to_try
from portal.model.mails import LEASE, MailKind, give_up_at, wait_before

START = datetime(2026, 11, 21, 10, 42, tzinfo=UTC)
PAUSES = st.lists(st.integers(0, 8 * 3600).map(lambda seconds: timedelta(seconds=seconds)), max_size=120)


@given(PAUSES)
def test_nobody_tries_more_than_ten_an_hour_or_fifty_in_all(pauses: list[timedelta]) -> None:
    """Whatever the rhythm, the tries let through stay below both limits, and a door once disabled stays so."""
    now, tries, made = START, Tries(0, 0, START), []
    for pause in pauses:
        now += pause
        if wait_to_try(tries, now) == timedelta(0):
            tries = one_more(tries, now)
            made.append(now)
    assert len(made) <= TRIES_IN_ALL
    assert (tries.disabled_at is not None) == (len(made) == TRIES_IN_ALL)
    for first, at in enumerate(made):
        window = [one for one in made[first:] if one - at < timedelta(hours=1)]
        assert len(window) < 2 * TRIES_AN_HOUR  # two windows can meet
    if tries.disabled_at:
        assert wait_to_try(tries, now + timedelta(days=1000)) is None


def test_each_full_window_doubles_the_wait() -> None:
    """1, 2, 4, 8 hours, and then for good."""
    now, tries, waits = START, Tries(0, 0, START), []
    for _ in range(5):
        for _ in range(TRIES_AN_HOUR):
            assert wait_to_try(tries, now) == timedelta(0)
            tries = one_more(tries, now)
        wait = wait_to_try(tries, now)
        waits.append(wait and wait.total_seconds() / 3600)
        now += wait or timedelta()
    assert waits == [1, 2, 4, 8, None]


@given(PAUSES)
def test_nobody_is_sent_more_than_three_codes_in_a_quarter_hour_or_ten_a_day(pauses: list[timedelta]) -> None:
    """Whatever the rhythm, no quarter of an hour has more than three codes and no day more than ten."""
    now = START
    made: list[datetime] = []
    for pause in pauses:
        now += pause / 40
        if not wait_to_send(made, now):
            made.append(now)
    for at in made:
        assert sum(at <= one < at + timedelta(minutes=15) for one in made) <= 3
        assert sum(at <= one < at + timedelta(days=1) for one in made) <= SENDS_A_DAY


@given(st.lists(st.integers(0, 86_400), min_size=3, max_size=10))
def test_the_wait_that_is_said_is_the_wait_that_is_kept(seconds: list[int]) -> None:
    """Just before its end the wait still holds, and at its end a code is sent."""
    made = sorted(START + timedelta(seconds=one) for one in seconds)
    now = made[-1]
    wait = wait_to_send(made, now)
    if wait:
        assert wait_to_send(made, now + wait - timedelta(microseconds=1)) > timedelta(0)
        assert wait_to_send(made, now + wait) == timedelta(0)


@given(st.integers(1, 60), st.floats(0, 1))
def test_tries_to_send_mail_wait_between_eleven_seconds_and_an_hour_and_a_quarter(attempt: int, chance: float) -> None:
    """The wait grows with each try and never beyond its bounds."""
    wait = wait_before(attempt, chance)
    assert timedelta(seconds=11) < wait <= timedelta(hours=1, minutes=15)
    assert wait_before(attempt + 1, chance) >= wait


def test_a_code_is_not_sent_after_its_life_and_a_notice_is_tried_for_days() -> None:
    """Each kind of mail is given up when it can't be of use any more, and a lease is shorter than all but a code's life."""
    assert give_up_at(MailKind.CODE, START) == START + timedelta(minutes=10)
    assert give_up_at(MailKind.TEXT, START) == START + timedelta(minutes=10)
    assert give_up_at(MailKind.STAFF_CODE, START) == START + timedelta(minutes=10)
    assert give_up_at(MailKind.ONWARD, START) == START + timedelta(hours=4)  # meanwhile nobody can read it here
    for kind in set(MailKind) - {MailKind.CODE, MailKind.TEXT, MailKind.STAFF_CODE, MailKind.ONWARD}:
        assert give_up_at(kind, START) - START >= timedelta(days=2) > LEASE
