"""How often a code may be asked for and tried: rules over counters, without a clock or a database."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

CODE_LIFE = timedelta(minutes=10)
TRIES_A_CODE = 5
TRIES_AN_HOUR = 10
TRIES_IN_ALL = 50
"""NIST SP 800-63B-4 3.2.2 allows 100."""
SENDS_A_DAY = 10
_SENDS = ((3, timedelta(minutes=15)), (SENDS_A_DAY, timedelta(days=1)))
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Tries:
    """Failed tries on one delivery's door: in all since the last success, and in the window of an hour."""

    in_all: int
    in_window: int
    window_from: datetime
    closed_until: datetime | None = None
    disabled_at: datetime | None = None


def wait_to_try(tries: Tries, now: datetime) -> timedelta | None:
    """How long no code is tried on this door: zero means now, None means never again."""
    if tries.disabled_at is not None:
        return None
    if tries.closed_until is not None and now < tries.closed_until:
        return tries.closed_until - now
    return timedelta(0)


def one_more(tries: Tries, now: datetime) -> Tries:
    """The counters after another try, taken as failed until it is known to have succeeded."""
    fresh = now - tries.window_from >= _HOUR
    in_window = 1 if fresh else tries.in_window + 1
    window_from = now if fresh else tries.window_from
    in_all = tries.in_all + 1
    # Each full window of ten doubles the wait: 1 h, 2 h, 4 h, 8 h.
    closed = (
        now + _HOUR * (1 << min(max(in_all // TRIES_AN_HOUR - 1, 0), 4))
        if in_window >= TRIES_AN_HOUR
        else tries.closed_until
    )
    disabled = now if in_all >= TRIES_IN_ALL else tries.disabled_at
    return replace(
        tries, in_all=in_all, in_window=in_window, window_from=window_from, closed_until=closed, disabled_at=disabled
    )


def wait_to_send(made: list[datetime], now: datetime) -> timedelta:
    """How long until another code may be sent, after those made at these times (oldest first)."""
    wait = timedelta(0)
    for most, window in _SENDS:
        recent = [at for at in made if now - at < window]
        if len(recent) >= most:
            wait = max(wait, recent[-most] + window - now)
    return wait
