"""What an organisation asks for its messages. A message keeps the version it came under."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from portal.model.assurance import Assurance
from portal.model.errors import InputRefused
from portal.model.ids import OrgId, PolicyId

DEFAULT_CLASS = "default"
SECURE_TAG = "secure"
"""The subject tag that marks a message for the portal without any rule."""


class Scan(StrEnum):
    """What a class asks of the virus scanner. What is found to be harmful is shown to nobody, unless the class asks for nothing."""

    OFF = "off"
    TRIED = "tried"
    """Where it can't be scanned it goes on all the same."""
    REQUIRED = "required"
    """Where it can't be scanned it waits, until a later scan finds it clean or an admin lets it through."""


_TAG = re.compile(r"\[([^\[\]]{1,40})\]")


def tag_of(subject: str) -> str:
    """The first tag of a subject, such as `secure` of `Re: [Secure] Your results`, lower case; empty when there is none."""
    found = _TAG.search(subject[:400])
    return " ".join(found[1].casefold().split()) if found else ""


@dataclass(frozen=True)
class Policy:
    """One version of one policy class. Days are whole; None for `reminder_days` means no reminder."""

    id: PolicyId
    org_id: OrgId
    name: str
    version: int
    life_days: int = 30
    """How long a message can be read."""
    reminder_days: int | None = 5
    """How many days before an unread message's end its recipient is reminded."""
    retention_days: int = 365
    """How long after acceptance the content is kept; it is disposed of then, expired or not."""
    reply_allowed: bool = True
    assurance: Assurance = Assurance.MAILBOX
    warn_days: int | None = 3
    """How many days before an unread message's end its sender is told."""
    notice_language: str | None = None
    """Language of its notices; None for the organisation's."""
    unverified_notice: bool = True
    """Whether a notice may go over hops whose TLS nobody verified; if not, it is submitted with REQUIRETLS (RFC 8689)."""
    scan: Scan = Scan.TRIED
    previews: bool = True
    """Whether pictures, PDF and plain text may be looked at in the browser, or only downloaded."""

    receipts: bool = False
    """Whether a recipient is asked to send a read receipt (RFC 8098) where the sender wants one."""
    reply_all: bool = False
    """Whether a recipient may answer those whom the message names too, of its organisation's own domains (portal/model/reply.py)."""
    graduate: bool = False
    """Whether what waits unread may go out by the relay once its recipient's domain has become safe."""

    def expires_at(self, accepted_at: datetime) -> datetime:
        return accepted_at + timedelta(days=self.life_days)

    def remind_at(self, expires_at: datetime) -> datetime | None:
        return None if self.reminder_days is None else expires_at - timedelta(days=self.reminder_days)

    def warn_at(self, expires_at: datetime) -> datetime | None:
        return None if self.warn_days is None else expires_at - timedelta(days=self.warn_days)

    def retain_until(self, accepted_at: datetime) -> datetime:
        return accepted_at + timedelta(days=max(self.retention_days, self.life_days))


MOST_DAYS = 3660
"""Ten years: longer than any rule asks, and within what dates can say."""


def check_policy(policy: Policy) -> None:
    """Raises InputRefused for what makes no sense, or would strand messages."""
    for field, days in (("life_days", policy.life_days), ("retention_days", policy.retention_days)):
        if not 1 <= days <= MOST_DAYS:
            raise InputRefused(f"Give a number of days from 1 to {MOST_DAYS}.", field)
    if policy.reminder_days is not None and not 1 <= policy.reminder_days < policy.life_days:
        raise InputRefused("A reminder comes at least a day before the end, and after the notice.", "reminder_days")
    if policy.retention_days < policy.life_days:
        raise InputRefused("Messages must be kept at least as long as they can be read.", "retention_days")
    if policy.warn_days is None or not 1 <= policy.warn_days <= policy.life_days:
        raise InputRefused(
            "Somebody must hear of a message that nobody reads: say how many days before its end.", "warn_days"
        )
