"""The kinds of mail the portal sends, and how long it tries."""

from datetime import datetime, timedelta
from enum import StrEnum


class MailKind(StrEnum):
    NOTICE = "notice"
    REMINDER = "reminder"
    CODE = "code"
    REPLY = "reply"
    ASKED = "asked"
    UNDELIVERED = "undelivered"
    TEXT = "text"
    """A code by SMS or voice."""
    CHANGED = "changed"
    """News for a person about her own ways in."""
    EXPIRING = "expiring"
    """To the sender: a message will soon end unread."""
    UNREAD = "unread"
    """To the sender: a message has ended unread."""
    STOPPED = "stopped"
    """To the sender: the virus scanner stopped a message."""
    STAFF_CODE = "staff-code"
    """A code by which a sender signs in to the console."""
    POINTER = "pointer"
    """To a recipient who answered a notice by mail: where answers are read."""
    DELIVERED = "delivered"
    """To a sender who asked for it (RFC 3461 NOTIFY=SUCCESS): the message is here and its notice has gone out."""
    RECEIPT = "receipt"
    """To a sender who asked for it (RFC 8098): a recipient says that she opened the message."""
    NEWS = "news"
    """To a sender who wants it: what happened to her messages."""
    ONWARD = "onward"
    """A message that waited here, to its recipient's own mailbox."""


_TRIES_FOR = {
    MailKind.CODE: timedelta(minutes=10),
    MailKind.STAFF_CODE: timedelta(minutes=10),
    MailKind.TEXT: timedelta(minutes=10),
    MailKind.NOTICE: timedelta(days=2),
    MailKind.REPLY: timedelta(days=5),
    MailKind.ONWARD: timedelta(hours=4),
}
LEASE = timedelta(minutes=10)
"""A job whose worker died is taken up again after this; so nobody is notified twice within it."""
RESCAN_FIRST, _RESCAN_LONGEST = timedelta(minutes=1), timedelta(hours=12)
_FIRST, _LONGEST = timedelta(seconds=15), timedelta(hours=1)


def give_up_at(kind: MailKind, made_at: datetime) -> datetime:
    return made_at + _TRIES_FOR.get(kind, timedelta(days=2))


def rescan_after(age: timedelta) -> timedelta:
    """How long a message of this age waits from one scan that failed to the next: as long as it has waited, 1 minute to 12 hours."""
    return min(max(age, RESCAN_FIRST), _RESCAN_LONGEST)


def wait_before(attempt: int, chance: float) -> timedelta:
    """How long to wait after the `attempt`-th try failed: doubling from 15 s to 1 h, spread by `chance` (0 to 1) over ±25 %."""
    doubled: timedelta = _FIRST * (1 << min(attempt - 1, 20))
    return min(doubled, _LONGEST) * (0.75 + chance / 2)
