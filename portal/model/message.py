"""The life of a delivery: one message for one recipient, the unit of link, state and taking back.

    held -> noticed -> opened -> replied;   from any of them expired, revoked, disposed;   revoked -> restored, expired -> extended

Beside the state stand facts that do not move it: the notice bounced, a machine fetched the link.
"""

from dataclasses import dataclass
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


READABLE = frozenset({DeliveryState.HELD, DeliveryState.NOTICED, DeliveryState.OPENED, DeliveryState.REPLIED})
ENDED = frozenset({DeliveryState.EXPIRED, DeliveryState.REVOKED, DeliveryState.DISPOSED})


@dataclass(frozen=True)
class Progress:
    """How far a delivery got, apart from whether it can still be read."""

    noticed_at: datetime | None = None
    opened_at: datetime | None = None
    replied_at: datetime | None = None

    def state(self) -> DeliveryState:
        """The readable state these facts amount to."""
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
            return DeliveryState.EXPIRED if state in READABLE else None
        case Step.REVOKE:
            return DeliveryState.REVOKED if state in READABLE or state is DeliveryState.EXPIRED else None
        case Step.RESTORE:
            return progress.state() if state is DeliveryState.REVOKED else None
        case Step.EXTEND:
            return progress.state() if state in READABLE or state is DeliveryState.EXPIRED else None
        case Step.DISPOSE:
            return DeliveryState.DISPOSED if state is not DeliveryState.DISPOSED else None
