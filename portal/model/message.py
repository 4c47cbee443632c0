"""The life of a delivery: one message for one recipient, the unit of link, state and taking back.

    held -> noticed -> opened -> replied;   from any of them expired, revoked, disposed;   revoked -> restored, expired -> extended
    quarantined: something harmful was found in it. unscanned -> held, or quarantined: its class shows nothing that was not scanned
    held, noticed -> graduated: it went to the mailbox itself, by the relay; restored when the relay could not send it

Beside the state stand facts that do not move it: the notice bounced, a machine fetched the link.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class DeliveryState(StrEnum):
    HELD = "held"
    NOTICED = "noticed"
    OPENED = "opened"
    REPLIED = "replied"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISPOSED = "disposed"
    QUARANTINED = "quarantined"
    UNSCANNED = "unscanned"
    GRADUATED = "graduated"


class Step(StrEnum):
    """What moves a delivery. Restoring and extending bring it back to where it had got to."""

    NOTICE = "notice"
    OPEN = "open"
    REPLY = "reply"
    EXPIRE = "expire"
    REVOKE = "revoke"
    RESTORE = "restore"
    EXTEND = "extend"
    DISPOSE = "dispose"
    RELEASE = "release"
    """Scanned at last and clean, or let through by an admin."""
    QUARANTINE = "quarantine"
    GRADUATE = "graduate"
    """Unread, and the recipient's domain has become safe: the relay is to send it, and the copy here is closed first."""


class Stopped(StrEnum):
    """Why a message is shown to nobody, and nobody is told of it. A fact that outlasts taking back and giving back."""

    INFECTED = "infected"
    UNSCANNED = "unscanned"


SEEN = frozenset({DeliveryState.OPENED, DeliveryState.REPLIED})
"""Opened, and can be read still."""
READABLE = SEEN | {DeliveryState.HELD, DeliveryState.NOTICED}
STOPPED = frozenset({DeliveryState.QUARANTINED, DeliveryState.UNSCANNED})
"""Shown to nobody, and nobody but the sender is told."""
UNREAD = frozenset({DeliveryState.HELD, DeliveryState.NOTICED})
ENDED = frozenset({DeliveryState.EXPIRED, DeliveryState.REVOKED, DeliveryState.DISPOSED, DeliveryState.GRADUATED})


@dataclass(frozen=True)
class Progress:
    """How far a delivery got, apart from whether it can still be read."""

    noticed_at: datetime | None = None
    opened_at: datetime | None = None
    replied_at: datetime | None = None
    stopped: Stopped | None = None

    def state(self) -> DeliveryState:
        """The state these facts amount to: readable, unless the message was stopped."""
        if self.stopped:
            return DeliveryState.QUARANTINED if self.stopped is Stopped.INFECTED else DeliveryState.UNSCANNED
        if self.replied_at:
            return DeliveryState.REPLIED
        if self.opened_at:
            return DeliveryState.OPENED
        return DeliveryState.NOTICED if self.noticed_at else DeliveryState.HELD


def after(state: DeliveryState, step: Step, progress: Progress) -> DeliveryState | None:
    """The state after `step`, or None when the step is not allowed from `state`.

    A step that changes nothing (opening once more) gives the same state back.
    """
    match step:
        case Step.NOTICE:
            return {DeliveryState.HELD: DeliveryState.NOTICED}.get(state, state) if state in READABLE else None
        case Step.OPEN:
            if state in (DeliveryState.HELD, DeliveryState.NOTICED):
                return DeliveryState.OPENED
            return state if state in READABLE else None
        case Step.REPLY:
            return DeliveryState.REPLIED if state in READABLE else None
        case Step.EXPIRE:
            return DeliveryState.EXPIRED if state in READABLE or state is DeliveryState.UNSCANNED else None
        case Step.REVOKE:
            ended = (DeliveryState.EXPIRED, DeliveryState.UNSCANNED)
            return DeliveryState.REVOKED if state in READABLE or state in ended else None
        case Step.RESTORE:
            return progress.state() if state in (DeliveryState.REVOKED, DeliveryState.GRADUATED) else None
        case Step.EXTEND:
            ended = (DeliveryState.EXPIRED, DeliveryState.UNSCANNED)
            return progress.state() if state in READABLE or state in ended else None
        case Step.RELEASE:
            waits = state is DeliveryState.UNSCANNED and progress.stopped is not Stopped.INFECTED
            return replace(progress, stopped=None).state() if waits else None
        case Step.QUARANTINE:
            # Also what an admin let through before a scan of another recipient's found something.
            open_still = state in READABLE or state is DeliveryState.UNSCANNED
            return DeliveryState.QUARANTINED if open_still else None
        case Step.GRADUATE:
            return DeliveryState.GRADUATED if state in UNREAD else None
        case Step.DISPOSE:
            return DeliveryState.DISPOSED if state is not DeliveryState.DISPOSED else None
