"""Outgoing mail: `Mailer` and its contract."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Submitted:
    """What the submission host said. `tls` names protocol and cipher of the hop to it; `reply` is its last line."""

    host: str
    tls: str
    reply: str


class Mailer(Protocol):
    async def submit(self, mail_from: str, rcpt_to: str, raw: bytes) -> Submitted:
        """Hands one mail to the submission host. Raises SubmissionFailed, transient or not as the host says.

        A failure after the host took the mail can't be told from one before: the mail may go out twice, never not at all.
        """

    async def check(self) -> Submitted:
        """Connects, does TLS and authentication, and leaves. Raises SubmissionFailed."""
