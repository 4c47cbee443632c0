"""What an organisation asks for its messages. A message keeps the version it came under."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.model.assurance import Assurance
from portal.model.ids import OrgId, PolicyId

DEFAULT_CLASS = "default"


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

    def expires_at(self, accepted_at: datetime) -> datetime:
        return accepted_at + timedelta(days=self.life_days)

    def remind_at(self, expires_at: datetime) -> datetime | None:
        return None if self.reminder_days is None else expires_at - timedelta(days=self.reminder_days)

    def retain_until(self, accepted_at: datetime) -> datetime:
        return accepted_at + timedelta(days=max(self.retention_days, self.life_days))
