"""An intake in memory, for tests of the edges: it records what it was asked, and fails where it is told to."""

import asyncio
from collections.abc import Awaitable, Callable

from portal.intake import Accepted, Came, Envelope, Limits, Relay
from portal.model.errors import RelayUnknown
from portal.model.ids import CredentialId, MessageId, OrgId, RelayId
from portal.model.routes import Rule

CLINIC_RELAY = Relay(RelayId("relay-1"), OrgId("org-1"), "mx.clinic.example", CredentialId("credential-1"))
NAME, PASSWORD = "clinic-relay", "correct horse"


class FakeSubmission:
    """`content` grows with each write; `state` ends as "committed" or "aborted"."""

    def __init__(self, intake: "FakeIntake", envelope: Envelope) -> None:
        self.intake = intake
        self.envelope = envelope
        self.content = bytearray()
        self.state = "open"

    async def write(self, piece: bytes) -> None:
        assert self.state == "open"
        await self.intake.fail("write")
        if self.intake.keep_content:
            self.content += piece

    async def commit(self) -> Accepted:
        assert self.state == "open"
        await self.intake.fail("commit")
        self.state = "committed"
        return Accepted(MessageId("message-1"))

    async def abort(self) -> None:
        assert self.state in {"open", "aborted"}
        self.state = "aborted"


class FakeIntake:
    """Satisfies portal.intake.Intake. `errors[step]` is raised by that step; `pauses[step]` is awaited by it before."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.errors: dict[str, Exception] = {}
        self.pauses: dict[str, Callable[[], Awaitable[object]]] = {}
        self.certificates: dict[str, Relay] = {}
        self.submissions: list[FakeSubmission] = []
        self.refusals: list[str] = []
        self.senders: list[str] = []
        self.recipients: list[str] = []
        self.mails: list[str] = []
        self.refused_recipients: dict[str, Exception] = {}
        self.rules: dict[str, Rule] = {}
        self.keep_content = True

    async def fail(self, step: str) -> None:
        if step in self.pauses:
            await self.pauses[step]()
        if step in self.errors:
            raise self.errors[step]

    async def relay_by_password(self, name: str, password: str, origin: str) -> Relay:
        await self.fail("relay_by_password")
        if (name, password) != (NAME, PASSWORD):
            raise RelayUnknown("wrong name or password")
        return CLINIC_RELAY

    async def relay_by_certificate(self, fingerprint: str, origin: str) -> Relay | None:
        await self.fail("relay_by_certificate")
        return self.certificates.get(fingerprint)

    def is_own_path(self, rcpt_to: str) -> bool:
        return rcpt_to.startswith(("bounce+", "reply+"))

    async def check_sender(self, relay: Relay, mail_from: str, origin: str) -> None:
        self.senders.append(mail_from)
        await self.fail("check_sender")

    async def check_recipient(self, relay: Relay, mail_from: str, rcpt_to: str, origin: str, mail: str = "") -> Came:
        self.recipients.append(rcpt_to)
        self.mails.append(mail)
        if rcpt_to in self.refused_recipients:
            raise self.refused_recipients[rcpt_to]
        return Came(self.rules.get(rcpt_to, Rule.TRUST))

    async def begin(self, relay: Relay, envelope: Envelope) -> FakeSubmission:
        await self.fail("begin")
        self.submissions.append(FakeSubmission(self, envelope))
        return self.submissions[-1]

    async def refuse(self, relay: Relay | None, origin: str, reason: str) -> None:
        await self.fail("refuse")
        self.refusals.append(reason)

    async def settled(self, count: int = 1) -> FakeSubmission:
        """The newest of at least `count` submissions, once it is committed or aborted. Raises TimeoutError."""
        async with asyncio.timeout(5):
            while len(self.submissions) < count or self.submissions[-1].state == "open":  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return self.submissions[-1]
