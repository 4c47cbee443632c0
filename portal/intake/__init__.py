"""From a relay's transaction to a stored, announced message.

The types here are what an edge (SMTP now) needs to speak with this chapter; portal/intake/accept.py does the work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from portal.model.ids import CredentialId, MessageId, OrgId, RelayId
from portal.model.reports import AskedOfOne
from portal.model.routes import Mode, Rule
from portal.transport import Verdict


@dataclass(frozen=True)
class Relay:
    """An authenticated relay of one organisation, and the credential it came with."""

    id: RelayId
    org_id: OrgId
    name: str
    credential: CredentialId
    mode: Mode = Mode.TRUST


@dataclass(frozen=True)
class Came:
    """Why a recipient is served here: the rule, and the verdict where the portal looked."""

    rule: Rule = Rule.TRUST
    verdict: Verdict | None = None

    @property
    def needs_mark(self) -> bool:
        """Whether it is for the message itself to show that it belongs here."""
        return self.rule is Rule.MARKED

    def __str__(self) -> str:
        return f"{self.rule} {self.verdict.outcome}" if self.verdict else str(self.rule)


@dataclass(frozen=True)
class Envelope:
    """One transaction as the edge heard it. Addresses as written after MAIL FROM and RCPT TO, without the brackets.

    `mail_from` is empty for the null reverse-path (RFC 5321 4.5.5). `queue_id` is what XFORWARD IDENT said, if anything.
    `came` says why each recipient is served here, in the order of `rcpt_to`.
    """

    mail_from: str
    rcpt_to: tuple[str, ...]
    origin: str
    queue_id: str | None = None
    smtp_utf8: bool = False
    came: tuple[Came, ...] = ()
    asked: Mapping[str, AskedOfOne] = field(default_factory=dict)
    """What is wanted of reports (RFC 3461 4.1, 4.2), by recipient as written in `rcpt_to`."""
    envid: str = ""
    """ENVID (RFC 3461 4.4), decoded. RET is taken and changes nothing: no report returns content (RFC 3461 4.3 asks, 6.2 lets be)."""


@dataclass(frozen=True)
class Accepted:
    """What was made durable. With `again`, all of it had been stored by an earlier transaction: nothing was added."""

    message_id: MessageId | None
    again: bool = False


@dataclass(frozen=True)
class Limits:
    """What intake takes. The edge announces `max_bytes` as SIZE (RFC 1870)."""

    max_bytes: int = 25 * 1024 * 1024
    max_recipients: int = 50


class Submission(Protocol):
    """One message on its way in. After `commit` returns, the message is durable; after `abort`, nothing of it is left.

    `write` takes pieces of any size, dot-unstuffed, CRLF line ends. All may raise a PortalError; `abort` may be called
    after any of them, more than once, and never raises.
    """

    async def write(self, piece: bytes) -> None: ...
    async def commit(self) -> Accepted: ...
    async def abort(self) -> None: ...


class Intake(Protocol):
    """What an edge asks of this chapter. Refusals are PortalErrors from portal/model/errors.py, and are on record."""

    limits: Limits

    async def relay_by_password(self, name: str, password: str, origin: str) -> Relay:
        """Raises RelayUnknown."""

    async def relay_by_certificate(self, fingerprint: str, origin: str) -> Relay | None:
        """The relay whose client certificate has this SHA-256 fingerprint (lower-case hex of the DER), or None."""

    def is_own_path(self, rcpt_to: str) -> bool:
        """Whether an address is one of the portal's own paths, where anybody may write: reports and answers come back there."""

    async def check_sender(self, relay: Relay, mail_from: str, origin: str) -> None:
        """Raises SenderNotYours. The null reverse-path is let through: `check_recipient` lets it write to own paths only."""

    async def check_recipient(self, relay: Relay, mail_from: str, rcpt_to: str, origin: str, mail: str = "") -> Came:
        """Why this recipient is served here. Raises RecipientRefused, LeftToRelay, NobodyThere, NeverHere.

        `mail` is what names the mail before its first byte, whenever the relay tries it again; empty where the relay says nothing.

        May take as long as a verdict does, which is some seconds.
        """

    async def begin(self, relay: Relay, envelope: Envelope) -> Submission: ...

    async def refuse(self, relay: Relay | None, origin: str, reason: str) -> None:
        """Puts on record that the edge itself refused a submission (size, bare LF, too many recipients)."""
