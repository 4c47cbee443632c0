"""Takes a relay's message: who may send is checked, the bytes are sealed as they come, and all is durable before the answer.

Blob first, then one commit with message, deliveries, grants, links, notices and the event; only then does the edge say yes.
The same message sent twice (the answer was lost) is known by its key and stored once. Nothing here can read what it stored.
So a virus scanner, where there is one, looks while the bytes come in: what it found is there before any notice is queued.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import datetime, timedelta

from portal.db import deliveries, given, graduations, messages, orgs, outbox, reports, threads
from portal.db.engine import Database, Duplicate, Stale
from portal.db.hot import Statement
from portal.db.routes import VerdictRow, add_verdict
from portal.db.tx import Change
from portal.envelope import encode_fields
from portal.intake import Accepted, Came, Envelope, Relay
from portal.intake.preparing import Preparing
from portal.intake.way import transcript
from portal.mime.asked import Asked, asked_of
from portal.mime.cover import Cover
from portal.mime.heading import answered, heading_of
from portal.mime.receipt import asks_receipt
from portal.model.assurance import Assurance, Method, reach
from portal.model.errors import (
    AskedMalformed,
    ClassUnknown,
    MailLoop,
    NoTexts,
    NotMarked,
    RecipientOutOfReach,
    RecipientRefused,
    StorageAway,
    SubmissionRefused,
)
from portal.model.events import GraduationReturned, MessageAccepted, Who
from portal.model.events import SubmissionRefused as RefusedEvent
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId, ReplyId, is_id
from portal.model.mails import RESCAN_FIRST, MailKind
from portal.model.message import READABLE, DeliveryState, Progress, Stopped
from portal.model.parties import Address, address
from portal.model.policy import DEFAULT_CLASS, SECURE_TAG, Policy, tag_of
from portal.model.policy import Scan as ScanClass
from portal.model.reports import AskedOfOne, ReportsAsked
from portal.model.routes import Outcome, Rule
from portal.scan import Finding, Scan, Scanner, Verdict
from portal.sealing import GrantFor, Holder, Kind, add_grant, chosen
from portal.sealing.announce import Announcer
from portal.sealing.chosen import check_code
from portal.sealing.seal import Container, SealedStream, Sealer

MAX_RECEIVED = 50
HEADER_BYTES = 64 * 1024
GRADUATES_BYTES = 25 * 1024 * 1024
"""Larger messages stay: the worker has the one that it hands to the relay in memory."""
_FIRST_LOOK = timedelta(hours=1)
_JUDGED = (Rule.DANE, Rule.MTA_STS, Rule.OPPORTUNISTIC)
_BLANK = b"\r\n\r\n"
IN_HAND_BYTES = 1024 * 1024
"""Messages up to this size are prepared for reading right after acceptance; of larger ones nothing is held."""


class Acceptance:
    """One message on its way in (see `intake.Submission`)."""

    def __init__(
        self,
        house: "House",
        relay: Relay,
        envelope: Envelope,
        container: Container,
        stream: SealedStream,
        scan: Scan | None,
    ) -> None:
        self._house, self._relay, self._envelope = house, relay, envelope
        self._container, self._stream, self._scan = container, stream, scan
        self._finding: Finding | None = None
        self._digest, self._body, self._body_at = hashlib.sha256(), hashlib.sha256(), -1
        self._head = bytearray()
        self._in_hand: list[bytes] | None = []
        self._wish: Wish

    async def write(self, piece: bytes) -> None:
        self._digest.update(piece)
        if len(self._head) < HEADER_BYTES:
            self._head += piece[: HEADER_BYTES - len(self._head)]
        self._digest_body(piece)
        if self._in_hand is not None:
            self._in_hand.append(piece)
            if self._stream.size + len(piece) > IN_HAND_BYTES:
                self._in_hand = None
        await self._stream.write(piece)
        if self._scan is not None:
            await self._scan.write(piece)

    def _digest_body(self, piece: bytes) -> None:
        """The body has a hash of its own: relays add to the header. None where the header has no end within what is kept of it."""
        if self._body_at < 0:
            self._body_at = self._head.find(_BLANK)
        if self._body_at >= 0:
            self._body.update(piece[max(0, self._body_at + len(_BLANK) - self._stream.size) :])

    async def abort(self) -> None:
        self._in_hand = None
        if self._scan is not None:
            self._scan.close()
        await self._stream.abort()

    async def commit(self) -> Accepted:
        house, relay = self._house, self._relay
        head = bytes(self._head)
        heading, message_id, references, received = heading_of(head)
        cover = Cover(heading, self._envelope.mail_from, message_id, references)
        key = self._key(message_id)
        wanted = [address(one) for one in self._envelope.rcpt_to]
        people = await house.recipients(relay.org_id, wanted)
        new = await self._not_back(key, cover, await self._new(key, people))
        if not new:  # what was said yes to is not refused now, whatever has become of class and recipient since
            await self.abort()
            return Accepted(None, again=True)
        try:
            if received > MAX_RECEIVED:
                raise MailLoop(f"{received} Received fields")
            self._wish = await house.wish(relay.org_id, head, cover, answered(head), len(people))
            if self._wish.marked is False and any(one.needs_mark for one in self._envelope.came):
                raise NotMarked("neither header nor subject tag")
            await house.check_reach(self._wish, new.values())
        except SubmissionRefused as error:
            await self.abort()
            await house.refused(relay, self._envelope, type(error).__name__)
            raise
        self._finding = await self._found()
        await self._stream.commit()
        for _ in range(3):
            try:
                change = await self._change(key, cover, new)
                await house.db.commit(change)
            except Duplicate:  # another transaction stored the same, or made the same recipient, at this very moment
                new = await self._new(key, await house.recipients(relay.org_id, wanted))
                if not new:
                    await house.discard(self._stream)
                    return Accepted(None, again=True)
                continue
            house.wake()
            if self._in_hand is not None and self._stopped() is None:
                house.preparing.later(self._container, self._in_hand)
            return Accepted(MessageId(self._container.id))
        raise StorageAway("other transactions kept storing the same message")

    async def _found(self) -> Finding | None:
        """What the scanner found; None where the class does not ask, or tries and there is no scanner."""
        asked = self._wish.policy.scan
        if self._scan is not None and asked is not ScanClass.OFF:
            return await self._scan.finding()
        if self._scan is not None:
            self._scan.close()
        return Finding(Verdict.UNKNOWN, "no scanner is set") if asked is ScanClass.REQUIRED else None

    def _stopped(self) -> Stopped | None:
        if self._finding is None or self._finding.verdict is Verdict.CLEAN:
            return None
        if self._finding.verdict is Verdict.INFECTED:
            return Stopped.INFECTED
        return Stopped.UNSCANNED if self._wish.policy.scan is ScanClass.REQUIRED else None

    def _key(self, message_id: str) -> bytes:
        """What makes two transactions the same message (relay.md, "Sent twice")."""
        said = (self._relay.id, self._envelope.queue_id or "", self._envelope.mail_from, message_id)
        fields = encode_fields(*(one.encode("utf-8", "surrogateescape") for one in said), self._digest.digest())
        return hashlib.sha256(fields).digest()

    async def _new(self, key: bytes, people: "dict[Address, Person]") -> "dict[Address, Person]":
        have = await messages.received_by(self._house.db, key)
        return {who: person for who, person in people.items() if person.id not in have}

    # -- graduation: what goes out by the relay while it waits here unread, and may come back

    def _mark(self, cover: Cover, recipient: Address) -> bytes | None:
        """The keyed hash of what makes it the same mail to the same person; None for a mail that can't be known again."""
        if not cover.message_id or self._body_at < 0:
            return None
        texts = (cover.message_id, str(address(cover.sender)), str(recipient), cover.heading.subject)
        said = encode_fields(*(one.encode("utf-8", "surrogateescape") for one in texts))
        return self._house.sealer.index(self._relay.org_id, "graduation", said.hex())

    async def _not_back(self, key: bytes, cover: Cover, people: "dict[Address, Person]") -> "dict[Address, Person]":
        """Without those for whom the relay brings back what went out from here; of these the copy here opens again."""
        try:
            if asked_of(bytes(self._head)) != Asked():
                return people  # what left asked for nothing: this is no copy of it, and may need more
        except AskedMalformed:
            return people
        return {who: one for who, one in people.items() if not await self._is_back(key, cover, who, one)}

    async def _is_back(self, key: bytes, cover: Cover, who: Address, person: "Person") -> bool:
        house, org_id, mark = self._house, self._relay.org_id, self._mark(cover, who)
        known = await graduations.marked(house.db, org_id, mark) if mark else []
        for one in known:
            if one.body_hash != self._body.digest() or one.expires_at <= house.source.now():
                continue
            if one.state is not DeliveryState.GRADUATED and one.state not in READABLE:
                continue
            event = GraduationReturned(
                at=house.source.now(),
                who=Who.RELAY,
                actor=self._relay.id,
                org_id=org_id,
                message_id=one.message_id,
                delivery_id=one.delivery_id,
                origin=self._envelope.origin,
                queue_id=self._envelope.queue_id,
            )
            try:
                async with house.db.write(event) as tx:
                    found = await deliveries.one(tx, one.delivery_id)
                    still = found is not None and found.state in READABLE
                    if not (await deliveries.reopen(tx, one.delivery_id) or still):
                        raise Stale("it ended meanwhile")
                    await graduations.returned(tx, one.delivery_id, org_id, key, person.id)
            except (Stale, Duplicate):
                continue
            return True
        return False

    async def _graduates(
        self, delivery_id: DeliveryId, cover: Cover, who: Address, came: Came, now: datetime
    ) -> list[Statement]:
        """The row by which it may go out later: nothing but the verdict brought it here, nothing but the mailbox guards it."""
        wish, org_id, index = self._wish, self._relay.org_id, self._house.sealer.index
        found, mark = came.verdict, self._mark(cover, who)
        judged = came.rule in _JUDGED and found is not None and found.outcome is Outcome.PORTAL
        guarded = wish.needs is not Assurance.MAILBOX or wish.code_hash is not None or wish.asked.phone is not None
        fits = self._stream.size <= GRADUATES_BYTES and not self._envelope.smtp_utf8 and self._stopped() is None
        if mark is None or not (wish.policy.graduate and judged and fits) or guarded or wish.marked:
            return []
        if await graduations.marked(self._house.db, org_id, mark):
            return []  # it has gone out once, and is here again
        row = graduations.add(
            delivery_id,
            org_id,
            mark=mark,
            body_hash=self._body.digest(),
            address_hash=index(org_id, "recipient", str(who)),
            came_by=came.rule,
            look_at=now + _FIRST_LOOK,
        )
        return [row]

    async def _change(self, key: bytes, cover: Cover, people: "dict[Address, Person]") -> Change[MessageAccepted]:
        house, org_id, now = self._house, self._relay.org_id, self._house.source.now()
        wish, finding, stopped = self._wish, self._finding, self._stopped()
        policy = wish.policy
        message_id = MessageId(self._container.id)
        ids = [DeliveryId(house.source.new_id()) for _ in people]
        sender = await house.sealer.field(org_id, message_id, "sender", cover.sender.encode())
        sender_hash = house.sealer.index(org_id, "sender", str(address(cover.sender)))
        rows = [person.added for person in people.values() if person.added]
        rows.append(
            messages.add_message(
                id=message_id,
                org_id=org_id,
                relay_id=self._relay.id,
                policy_id=policy.id,
                blob_key=self._stream.key,
                size=self._stream.size,
                heading_sealed=self._container.seal(Kind.HEADING, cover.dump()),
                sender_hash=sender_hash,
                sender_sealed=sender.sealed,
                epoch_id=sender.epoch_id,
                thread_hash=wish.thread,
                scan=finding.verdict.value if finding else None,
                scan_said=(finding and finding.said) or None,
                rescan_at=now + RESCAN_FIRST if stopped is Stopped.UNSCANNED else None,
                accepted_at=now,
                retain_until=policy.retain_until(now),
            )
        )
        came = self._came()
        for delivery_id, (who, person) in zip(ids, people.items(), strict=True):
            rows += await self._delivery(delivery_id, person.id, key, sender_hash, stopped, now)
            rows += await self._given(delivery_id, person.id, now)
            rows += await self._verdict(delivery_id, came[who], now)
            rows += await self._graduates(delivery_id, cover, who, came[who], now)
        rows += await self._reports(message_id, cover.message_id, dict(zip(people, ids, strict=True)))
        if wish.thread:
            rows.append(threads.keep(org_id, wish.thread, wish.needs, now))
        event = MessageAccepted(
            at=now,
            who=Who.RELAY,
            actor=self._relay.id,
            org_id=org_id,
            message_id=message_id,
            origin=self._envelope.origin,
            deliveries=tuple(ids),
            came_by=tuple(str(came[who]) for who in people),
            policy=f"{policy.name} {policy.version}",
            size=self._stream.size,
            queue_id=self._envelope.queue_id,
            needs=int(wish.needs),
            access_code=wish.code_hash is not None,
            phone=wish.asked.phone is not None,
            scan=finding.verdict.value if finding else None,
            scan_said=(finding and finding.said) or None,
            stopped=stopped and stopped.value,
        )
        return Change(event, tuple(rows))

    async def _delivery(
        self,
        delivery_id: DeliveryId,
        recipient_id: RecipientId,
        key: bytes,
        sender_hash: bytes,
        stopped: Stopped | None,
        now: datetime,
    ) -> list[Statement]:
        """The rows of one recipient, in the order in which they refer to each other. Of what is stopped only the sender is told."""
        org_id, policy, house = self._relay.org_id, self._wish.policy, self._house
        expires_at = policy.expires_at(now)
        grant = await self._container.grant(Holder(GrantFor.DELIVERY, delivery_id, recipient_id))
        if stopped is None:
            told, job = await house.announcer.announce(org_id, delivery_id, MailKind.NOTICE, self._wish.language, now)
        else:
            told, job = [], outbox.job_for(house.source.new_id(), org_id, MailKind.STOPPED, delivery_id, now)
        return [
            messages.add_delivery(
                id=delivery_id,
                org_id=org_id,
                message_id=self._container.id,
                recipient_id=recipient_id,
                needs=int(self._wish.needs),
                state=Progress(stopped=stopped).state().value,
                stopped=stopped and stopped.value,
                previews=policy.previews,
                reply_allowed=policy.reply_allowed,
                sender_hash=sender_hash,
                policy_name=policy.name,
                accepted_at=now,
                expires_at=expires_at,
                remind_at=policy.remind_at(expires_at),
                warn_at=policy.warn_at(expires_at),
            ),
            messages.add_received(key=key, recipient_id=recipient_id, org_id=org_id, delivery_id=delivery_id),
            add_grant(grant),
            *told,
            outbox.add(job),
        ]

    async def _reports(
        self, message_id: MessageId, own_id: str, deliveries: "dict[Address, DeliveryId]"
    ) -> list[Statement]:
        """The row of what the sender wants to hear of the message, where it says anything or can be found by its id."""
        envelope, org_id = self._envelope, self._relay.org_id
        told = ((deliveries.get(address(to)), one) for to, one in envelope.asked.items())
        asked: dict[str, AskedOfOne] = {key: one for key, one in told if key}
        receipt = self._wish.receipt
        if not (own_id or envelope.envid or asked or receipt):
            return []
        payload = ReportsAsked(own_id, envelope.envid, asked)
        field = await self._house.sealer.field(org_id, message_id, "reports", payload.dump())
        success = any(one.success for one in asked.values())
        row = {"message_id": message_id, "org_id": org_id, "success": success, "receipt": receipt}
        return [reports.add(**row, sealed=field.sealed, epoch_id=field.epoch_id)]

    def _came(self) -> dict[Address, Came]:
        """Why each recipient is served here; of one who stands twice, the first."""
        envelope = self._envelope
        came = envelope.came or (Came(),) * len(envelope.rcpt_to)
        return dict(zip(map(address, reversed(envelope.rcpt_to)), reversed(came), strict=True))

    async def _verdict(self, delivery_id: DeliveryId, came: Came, now: datetime) -> list[Statement]:
        """The row that says why; none for what a trusted relay brought."""
        if came.rule is Rule.TRUST:
            return []
        org_id, found = self._relay.org_id, came.verdict
        row = VerdictRow(delivery_id, org_id, came.rule, None, None, None, now)
        if found is not None:
            field = await self._house.sealer.field(org_id, delivery_id, "verdict", transcript(found).encode())
            row = VerdictRow(delivery_id, org_id, came.rule, found.outcome, field.sealed, field.epoch_id, found.at)
        return [add_verdict(row)]

    async def _given(self, delivery_id: DeliveryId, recipient_id: RecipientId, now: datetime) -> list[Statement]:
        """The rows of what the sender gives this recipient to sign in with."""
        org_id, wish, sealer = self._relay.org_id, self._wish, self._house.sealer
        rows = []
        if wish.code_hash is not None:
            hint = wish.asked.hint
            field = await sealer.field(org_id, delivery_id, "hint", hint.encode()) if hint else None
            sealed, epoch_id = (field.sealed, field.epoch_id) if field else (None, None)
            rows.append(
                given.add_access_code(given.AccessCode(delivery_id, org_id, wish.code_hash, sealed, epoch_id), now)
            )
        if wish.asked.phone is not None:
            field = await sealer.field(org_id, recipient_id, "phone", wish.asked.phone.encode())
            rows.append(given.add_phone(given.Phone(recipient_id, org_id, field.sealed, field.epoch_id), now))
        return rows


@dataclass(frozen=True)
class Wish:
    """What a message comes under: its class, the level that opening it needs, and what its sender gives for that.

    `thread` is the keyed hash of its Message-ID, under which answers to it find their floor.
    """

    asked: Asked
    policy: Policy
    language: str
    needs: Assurance
    code_hash: str | None = dataclass_field(repr=False)
    thread: bytes | None
    marked: bool
    """Whether the sender marked the message for the portal: by an X-Portal header, or by a tag in the subject that means that."""
    receipt: bool = False
    """The sender asks for a read receipt, and the class allows it."""


class Person:
    """A recipient: known, or about to be added with `added`."""

    def __init__(self, recipient_id: RecipientId, added: Statement | None) -> None:
        self.id, self.added = recipient_id, added


class House:
    """What every acceptance needs of the house: rows, the sealer, the announcer, and no key that reads."""

    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        announcer: Announcer,
        preparing: Preparing,
        wake: Callable[[], None],
        *,
        scanner: Scanner | None = None,
        texts: bool = False,
        return_domain: str = "",
    ) -> None:
        """`wake` tells the worker of this process that something is due; `texts` says that there is a provider of texts.

        `return_domain` is that of the Message-IDs of replies.
        """
        self._scanner, self._texts, self._return_domain = scanner, texts, return_domain
        self.db, self.sealer, self.announcer = db, sealer, announcer
        self.preparing, self.source, self.wake = preparing, sealer.source, wake

    async def accept(self, relay: Relay, envelope: Envelope) -> Acceptance:
        container = self.sealer.container(relay.org_id, self.source.new_id())
        stream = await container.stream(Kind.ORIGINAL)
        scan = await self._scanner.begin() if self._scanner else None
        return Acceptance(self, relay, envelope, container, stream, scan)

    async def recipients(self, org_id: OrgId, wanted: list[Address]) -> dict[Address, Person]:
        """The recipients of these addresses, each once; new ones get their row with the message."""
        people: dict[Address, Person] = {}
        for who in wanted:
            if who not in people:
                people[who] = await self._person(org_id, who)
        return people

    async def _person(self, org_id: OrgId, who: Address) -> Person:
        address_hash = self.sealer.index(org_id, "recipient", str(who))
        known = await messages.recipient_id(self.db, org_id, address_hash)
        if known:
            return Person(known, None)
        recipient_id = RecipientId(self.source.new_id())
        field = await self.sealer.field(org_id, recipient_id, "address", str(who).encode())
        added = messages.add_recipient(
            id=recipient_id,
            org_id=org_id,
            address_hash=address_hash,
            address_sealed=field.sealed,
            epoch_id=field.epoch_id,
            added_at=self.source.now(),
        )
        return Person(recipient_id, added)

    async def wish(self, org_id: OrgId, head: bytes, cover: Cover, answers: tuple[str, ...], recipients: int) -> Wish:
        """What a message comes under. Raises AskedMalformed, ClassUnknown, NoTexts, and RecipientRefused without a default class."""
        asked = asked_of(head)
        if asked.access_code is not None:
            check_code(asked.access_code, asked.hint)
        if asked.phone is not None and recipients > 1:  # the codes of all but one would go to another person
            raise AskedMalformed("a phone number for several recipients")
        if asked.phone is not None and not self._texts:
            raise NoTexts("no provider of texts")
        kind, ruled = (None if asked.cls else await self._class_by_rule(org_id, cover)) or ("", None)
        marked = asked != Asked() or kind == "tag" or tag_of(cover.heading.subject) == SECURE_TAG
        found = await orgs.policy_in_force(self.db, org_id, asked.cls or ruled or DEFAULT_CLASS)
        if found is None and asked.cls is None:
            raise RecipientRefused(f"organisation {org_id} has no policy {DEFAULT_CLASS}")
        if found is None:
            raise ClassUnknown(f"organisation {org_id} has no such class")
        policy, language = found
        floor = await threads.floor(self.db, org_id, *self._known(org_id, answers))
        code_hash = await chosen.hashed(asked.access_code) if asked.access_code is not None else None
        message_id = cover.message_id
        thread = self.sealer.index(org_id, "thread", message_id) if message_id else None
        receipt = policy.receipts and asks_receipt(head, cover.sender)
        return Wish(asked, policy, language, max(policy.assurance, floor), code_hash, thread, marked, receipt)

    async def _class_by_rule(self, org_id: OrgId, cover: Cover) -> tuple[str, str] | None:
        """The kind of the organisation's own rule for this subject or sender, and the class it names."""
        sender = address(cover.sender)
        values = {"tag": tag_of(cover.heading.subject), "sender": str(sender), "domain": sender.domain}
        hashed = {kind: self.sealer.index(org_id, f"rule {kind}", value) for kind, value in values.items()}
        return await orgs.class_by_rule(self.db, org_id, **hashed)

    def _known(self, org_id: OrgId, answers: tuple[str, ...]) -> tuple[list[bytes], list[ReplyId]]:
        """What a message answers: other messages by the hash of their ids, and replies of recipients, whose id is ours."""
        ours = [one[1:-1].rpartition("@") for one in answers]
        ids = [ReplyId(local) for local, _, domain in ours if domain == self._return_domain and is_id(local)]
        return [self.sealer.index(org_id, "thread", one) for one in answers], ids

    async def check_reach(self, wish: Wish, people: Iterable[Person]) -> None:
        """Raises RecipientOutOfReach when somebody could never open the message: its sender hears of it before it is taken."""
        if wish.needs is Assurance.MAILBOX or wish.code_hash is not None or wish.asked.phone is not None:
            return
        for person in people:
            ways = [] if person.added else await given.ways(self.db, person.id)
            if reach([one for one in ways if self._texts or one.method is not Method.SMS]) < wish.needs:
                raise RecipientOutOfReach("a recipient has no way to that level")

    async def refused(self, relay: Relay, envelope: Envelope, reason: str) -> None:
        """Puts on record that a message was refused once it was whole."""
        event = RefusedEvent(
            at=self.source.now(),
            who=Who.RELAY,
            actor=relay.id,
            org_id=relay.org_id,
            origin=envelope.origin,
            reason=reason,
        )
        await self.db.record(event)

    async def discard(self, stream: SealedStream) -> None:
        """Deletes a blob that certainly no row knows. After an unclear commit the sweeper looks instead."""
        await self.sealer.blobs.delete(stream.key)
