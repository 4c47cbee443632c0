"""Time and randomness for the edges; everything below takes `now` and random bytes as arguments."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from portal.model.ids import uuid7


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Source:
    """Where time, ids and random bytes come from. Tests hand in their own clock."""

    now: Callable[[], datetime] = utc_now
    random: Callable[[int], bytes] = secrets.token_bytes

    def new_id(self) -> str:
        return uuid7(self.now(), self.random(8))
