"""Who may read what: one decision, taken here and nowhere else.

The answer is a value. `Grant` is the token that `sealing.open.Opener` asks for: only `may_read` makes one.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from portal.model.assurance import Assurance
from portal.model.events import Facts, Who
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId
from portal.model.message import STOPPED, DeliveryState


class Purpose(StrEnum):
    """What the content is wanted for. Each has its own event."""

    SUMMARY = "summary"
    BODY = "body"
    PRINT = "print"
    ATTACHMENT = "attachment"
    PREVIEW = "preview"
    """An attachment shown by the browser itself, in a document of its own."""
    ORIGINAL = "original"
    PDF = "pdf"
    SEARCH = "search"
    """To look for words in it; none of its text is shown."""
    QUOTE = "quote"
    """The heading of a message shown above the reply that is being written."""


@dataclass(frozen=True)
class Reader:
    """Who asks: a recipient with a session. `session` is the hex of the session's hash."""

    recipient_id: RecipientId
    org_id: OrgId
    assurance: Assurance
    session: str
    origin: str | None


@dataclass(frozen=True)
class Target:
    """What is asked for: a delivery as it stands now."""

    org_id: OrgId
    message_id: MessageId
    delivery_id: DeliveryId
    recipient_id: RecipientId
    state: DeliveryState
    expires_at: datetime
    needs: Assurance


@dataclass(frozen=True)
class Access:
    """A read that was allowed: who, which message and delivery, for what, at which assurance. Made by `may_read` only."""

    reader: Reader
    target: Target
    purpose: Purpose
    at: datetime
    part: str = ""

    def facts(self) -> Facts:
        return facts(self.reader, self.target, self.at)


def facts(reader: Reader, target: Target, at: datetime) -> Facts:
    """What an event about this reader and this delivery says."""
    return Facts(
        at=at,
        who=Who.RECIPIENT,
        actor=reader.recipient_id,
        org_id=target.org_id,
        message_id=target.message_id,
        delivery_id=target.delivery_id,
        session=reader.session,
        origin=reader.origin,
    )


Reason = Literal["foreign", "expired", "revoked", "disposed", "graduated", "stopped", "assurance"]


@dataclass(frozen=True)
class Deny:
    """A read that was not allowed, and the assurance that would do when that is the reason."""

    reason: Reason
    needed: Assurance | None = None


def may_read(reader: Reader, target: Target, purpose: Purpose, now: datetime, part: str = "") -> Access | Deny:
    """Whether `reader` may have this content now. Foreign is decided first: nothing else is told of what is not yours."""
    if (reader.org_id, reader.recipient_id) != (target.org_id, target.recipient_id):
        return Deny("foreign")
    if target.state in STOPPED:
        return Deny("stopped")
    if target.state is DeliveryState.REVOKED:
        return Deny("revoked")
    if target.state is DeliveryState.DISPOSED:
        return Deny("disposed")
    if target.state is DeliveryState.GRADUATED:
        return Deny("graduated")
    if target.state is DeliveryState.EXPIRED or now >= target.expires_at:
        return Deny("expired")
    if reader.assurance < target.needs:
        return Deny("assurance", target.needs)
    return Access(reader, target, purpose, now, part)
