"""From a link to a session, and to a stronger one: links, codes, passkeys, second channels, recovery.

The types here are what every way in speaks of; `sessions.py` begins and raises sessions, all others prove something to it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from portal.db.sessions import Session
from portal.db.tx import WriteTx
from portal.model.events import Facts, SignedIn, SteppedUp, Who
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId


@dataclass(frozen=True)
class Client:
    """Where a request comes from: network address, device in plain words, and place where the proxy says one."""

    origin: str
    agent: str = ""
    place: str = ""


@dataclass(frozen=True)
class Whose:
    """A person, and the delivery by which she came, if any."""

    org_id: OrgId
    recipient_id: RecipientId
    message_id: MessageId | None = None
    delivery_id: DeliveryId | None = None


UseUp: TypeAlias = Callable[[WriteTx[SignedIn | SteppedUp]], Awaitable[None]]
"""Uses up what was proved, in the transaction that acts on it. Raises CodeRefused when another was faster."""


def own(session: Session, client: Client, at: datetime, delivery_id: DeliveryId | None = None) -> Facts:
    """What an event says that a signed-in person causes."""
    return Facts(
        at=at,
        who=Who.RECIPIENT,
        actor=session.recipient_id,
        org_id=session.org_id,
        message_id=None,
        delivery_id=delivery_id,
        session=session.ref,
        origin=client.origin,
    )
