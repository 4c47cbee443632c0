"""What the mail edge asks before and around a message: who the relay is, whether sender and recipients may use it.

Whether a recipient is a case for the portal decides its way (way.py). This is the `intake.Intake` that the edge is given. Every
refusal is on record.
"""

import asyncio
import hmac
from dataclasses import replace
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from portal.clock import Source
from portal.db import limits, orgs, outbox
from portal.db.engine import Database
from portal.intake import Came, Envelope, Limits, Relay, Submission
from portal.intake.accept import House
from portal.intake.report import OwnPath, ReportSubmission, own_path
from portal.intake.way import Ways
from portal.model.errors import (
    LeftToRelay,
    MailLoop,
    PortalError,
    RecipientIsYours,
    RecipientRefused,
    RelayUnknown,
    SenderNotYours,
)
from portal.model.events import RelayRefused, SubmissionRefused, Who
from portal.model.ids import CredentialId
from portal.model.links import keyed_hash
from portal.model.parties import Address, address
from portal.model.routes import Mode

_SEEN_EVERY = timedelta(minutes=1)
_LEFT_EVERY = timedelta(hours=1)
_LEFT_AT_MOST = timedelta(days=60)
"""Longer than any relay keeps a mail: within it the count of what had no row of its own begins anew with a row alone."""


class IntakeDoor:
    """See the module."""

    def __init__(
        self,
        db: Database,
        house: House,
        source: Source,
        limits: Limits,
        ways: Ways,
        *,
        credentials_key: bytes,
        return_domain: str,
    ) -> None:
        self.limits = limits
        self._db, self._house, self._source, self._ways = db, house, source, ways
        self._key, self._return_domain = credentials_key, return_domain
        self._seen: dict[CredentialId, datetime] = {}
        self._leaving: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def relay_by_password(self, name: str, password: str, origin: str) -> Relay:
        written = name.isascii() and name.isprintable()  # else no relay's: PostgreSQL takes no NUL in a text
        known = await orgs.relay_by_username(self._db, name) if written else None
        given = keyed_hash(self._key, password)
        if not hmac.compare_digest(given, (known and known.secret_hash) or bytes(32)) or known is None:
            hashed = keyed_hash(self._key, "name", name).hex()
            await self._db.record(RelayRefused(at=self._source.now(), who=Who.STRANGER, origin=origin, name=hashed))
            raise RelayUnknown("no such relay, or another password")
        return await self._known(known, origin)

    async def relay_by_certificate(self, fingerprint: str, origin: str) -> Relay | None:
        known = await orgs.relay_by_fingerprint(self._db, fingerprint)
        return await self._known(known, origin) if known else None

    async def _known(self, known: orgs.KnownRelay, origin: str) -> Relay:
        now, credential = self._source.now(), known.credential
        if credential not in self._seen or now - self._seen[credential] > _SEEN_EVERY:
            self._seen[credential] = now
            await self._db.note(orgs.credential_used(credential, origin, now))
        return Relay(known.id, known.org_id, known.name, credential, Mode(known.mode))

    def is_own_path(self, rcpt_to: str) -> bool:
        try:
            return own_path(address(rcpt_to), self._return_domain) is not None
        except ValueError:
            return False

    async def check_sender(self, relay: Relay, mail_from: str, origin: str) -> None:
        if not await orgs.credential_enabled(self._db, relay.credential):  # disabled while its connection stayed open
            await self.refuse(relay, origin, "RelayUnknown")
            raise RelayUnknown("the relay was disabled")
        if not mail_from:  # RFC 5321 4.5.5: only reports have none, and only a return path takes them
            return
        try:
            sender = address(mail_from)
        except ValueError:
            await self.refuse(relay, origin, "SenderNotYours")
            raise SenderNotYours("not a mail address") from None
        owner = await orgs.owner_of_domain(self._db, sender.domain)
        if owner is None or owner.org_id != relay.org_id:
            await self.refuse(relay, origin, "SenderNotYours")
            raise SenderNotYours("the sender's domain is not one of the relay's organisation")
        if not await orgs.relay_may_send_for(self._db, relay.id, sender.domain):
            await self.refuse(relay, origin, "SenderNotYours")
            raise SenderNotYours("the relay may not hand over mail of this sender domain")
        if sender == address(owner.mail_from):
            # The relay's fallback has brought the portal's own mail here: a notice about a notice would follow.
            await self.refuse(relay, origin, "MailLoop")
            raise MailLoop("mail of the portal itself came back; the relay needs a transport of its own for it")

    async def check_recipient(self, relay: Relay, mail_from: str, rcpt_to: str, origin: str, mail: str = "") -> Came:
        try:
            return await self._check_recipient(relay, mail_from, rcpt_to, mail)
        except LeftToRelay as error:
            await self._left(relay, address(rcpt_to), origin, type(error).__name__)
            raise
        except PortalError as error:
            await self.refuse(relay, origin, type(error).__name__)
            raise

    async def _left(self, relay: Relay, recipient: Address, origin: str, reason: str) -> None:
        """Puts on record that a recipient is left to the relay, or counts it where the hour has its row."""
        key = self._house.sealer.index(relay.org_id, "left", f"{relay.id} {recipient}")
        async with self._leaving.setdefault(key, asyncio.Lock()):
            now, known = self._source.now(), await limits.look(self._db, key)
            if known is None or now - known[1] >= _LEFT_EVERY:
                await self.refuse(relay, origin, reason, (known and known[0]) or None)
                await limits.keep(self._db, key, now, 0)
            else:
                await limits.count(self._db, key, now, _LEFT_AT_MOST)

    async def _check_recipient(self, relay: Relay, mail_from: str, rcpt_to: str, mail: str) -> Came:
        try:
            who = address(rcpt_to)
        except ValueError:
            raise RecipientRefused("not a mail address") from None
        path = own_path(who, self._return_domain)
        if path is not None:
            if not await self._is_ours(path):
                raise RecipientRefused("no mail of ours has this path")
            return Came()
        if not mail_from or who.domain == self._return_domain:
            raise RecipientRefused(
                "reports go to the path of a mail of ours, and at the portal's own domain there is nobody else"
            )
        owner = await orgs.owner_of_domain(self._db, who.domain)
        if owner and (owner.org_id == relay.org_id or relay.mode is not Mode.ARBITER):
            raise RecipientIsYours("a sender domain can't be a recipient's")
        return await self._ways.of(relay, address(mail_from), who, mail)

    async def _is_ours(self, path: OwnPath) -> bool:
        async with self._db.read() as tx:
            return await outbox.by_return_hash(tx, path.found_by) is not None

    async def begin(self, relay: Relay, envelope: Envelope) -> Submission:
        came = envelope.came or (Came(),) * len(envelope.rcpt_to)
        people = [pair for pair in zip(envelope.rcpt_to, came, strict=True) if not self.is_own_path(pair[0])]
        if people:  # whoever sends a message to people and to a path of ours means the people
            to, why = zip(*people, strict=True)
            return await self._house.accept(relay, replace(envelope, rcpt_to=to, came=why))
        house = self._house
        return ReportSubmission(self._db, house.sealer, relay, envelope, self._return_domain, house.wake)

    async def refuse(self, relay: Relay | None, origin: str, reason: str, unsaid: int | None = None) -> None:
        event = SubmissionRefused(
            at=self._source.now(),
            who=Who.RELAY if relay else Who.STRANGER,
            actor=relay.id if relay else "",
            org_id=relay.org_id if relay else None,
            origin=origin,
            reason=reason,
            unsaid=unsaid,
        )
        await self._db.record(event)
