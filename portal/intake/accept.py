"""Takes a relay's message: who may send is checked, the bytes are sealed as they come, and all is durable before the answer.

Blob first, then one commit with message, deliveries, grants, links, notices and the event; only then does the edge say yes.
The same message sent twice (the answer was lost) is known by its key and stored once. Nothing here can read what it stored.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime

from portal.db import messages, orgs, outbox
from portal.db.engine import Database, Duplicate
from portal.db.hot import Statement
from portal.db.tx import Change
from portal.envelope import encode_fields
from portal.intake import Accepted, Envelope, Relay
from portal.intake.preparing import Preparing
from portal.mime.cover import Cover
from portal.mime.heading import heading_of
from portal.model.errors import MailLoop, RecipientRefused, StorageAway
from portal.model.events import MessageAccepted, SubmissionRefused, Who
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId
from portal.model.mails import MailKind
from portal.model.parties import Address, address
from portal.model.policy import DEFAULT_CLASS, Policy
from portal.sealing import GrantFor, Holder, Kind, add_grant
from portal.sealing.announce import Announcer
from portal.sealing.seal import Container, SealedStream, Sealer

MAX_RECEIVED = 50
HEADER_BYTES = 64 * 1024
IN_HAND_BYTES = 1024 * 1024
"""Messages up to this size are prepared for reading right after acceptance; of larger ones nothing is held."""


class Acceptance:
    """One message on its way in (see `intake.Submission`)."""

    def __init__(
        self, house: "House", relay: Relay, envelope: Envelope, container: Container, stream: SealedStream
    ) -> None:
        self._house, self._relay, self._envelope = house, relay, envelope
        self._container, self._stream = container, stream
        self._digest = hashlib.sha256()
        self._head = bytearray()
        self._in_hand: list[bytes] | None = []

    async def write(self, piece: bytes) -> None:
        self._digest.update(piece)
        if len(self._head) < HEADER_BYTES:
            self._head += piece[: HEADER_BYTES - len(self._head)]
        if self._in_hand is not None:
            self._in_hand.append(piece)
            if self._stream.size + len(piece) > IN_HAND_BYTES:
                self._in_hand = None
        await self._stream.write(piece)

    async def abort(self) -> None:
        self._in_hand = None
        await self._stream.abort()

    async def commit(self) -> Accepted:
        house, relay = self._house, self._relay
        heading, message_id, references, received = heading_of(bytes(self._head))
        if received > MAX_RECEIVED:
            await self.abort()
            await house.refused(relay, self._envelope, "MailLoop")
            raise MailLoop(f"{received} Received fields")
        cover = Cover(heading, self._envelope.mail_from, message_id, references)
        key = self._key(message_id)
        wanted = [address(one) for one in self._envelope.rcpt_to]
        people = await house.recipients(relay.org_id, wanted)
        new = await self._new(key, people)
        if not new:
            await self.abort()
            return Accepted(None, again=True)
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
            if self._in_hand is not None:
                house.preparing.later(self._container, self._in_hand)
            return Accepted(MessageId(self._container.id))
        raise StorageAway("other transactions kept storing the same message")

    def _key(self, message_id: str) -> bytes:
        """What makes two transactions the same message (relay.md, "Sent twice")."""
        said = (self._relay.id, self._envelope.queue_id or "", self._envelope.mail_from, message_id)
        fields = encode_fields(*(one.encode("utf-8", "surrogateescape") for one in said), self._digest.digest())
        return hashlib.sha256(fields).digest()

    async def _new(self, key: bytes, people: "dict[Address, Person]") -> "dict[Address, Person]":
        have = await messages.received_by(self._house.db, key)
        return {who: person for who, person in people.items() if person.id not in have}

    async def _change(self, key: bytes, cover: Cover, people: "dict[Address, Person]") -> Change[MessageAccepted]:
        house, org_id, now = self._house, self._relay.org_id, self._house.source.now()
        policy, language = await house.policy(org_id)
        message_id = MessageId(self._container.id)
        ids = [DeliveryId(house.source.new_id()) for _ in people]
        sender = await house.sealer.field(org_id, message_id, "sender", cover.sender.encode())
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
                sender_hash=house.sealer.index(org_id, "sender", str(address(cover.sender))),
                sender_sealed=sender.sealed,
                epoch_id=sender.epoch_id,
                accepted_at=now,
                retain_until=policy.retain_until(now),
            )
        )
        for delivery_id, person in zip(ids, people.values(), strict=True):
            rows += await self._delivery(delivery_id, person.id, policy, key, language, now)
        event = MessageAccepted(
            at=now,
            who=Who.RELAY,
            actor=self._relay.id,
            org_id=org_id,
            message_id=message_id,
            origin=self._envelope.origin,
            deliveries=tuple(ids),
            policy=f"{policy.name} {policy.version}",
            size=self._stream.size,
            queue_id=self._envelope.queue_id,
        )
        return Change(event, tuple(rows))

    async def _delivery(
        self,
        delivery_id: DeliveryId,
        recipient_id: RecipientId,
        policy: Policy,
        key: bytes,
        language: str,
        now: datetime,
    ) -> list[Statement]:
        """The rows of one recipient, in the order in which they refer to each other."""
        org_id, expires_at = self._relay.org_id, policy.expires_at(now)
        grant = await self._container.grant(Holder(GrantFor.DELIVERY, delivery_id, recipient_id))
        link, job = await self._house.announcer.announce(org_id, delivery_id, MailKind.NOTICE, language, now)
        return [
            messages.add_delivery(
                id=delivery_id,
                org_id=org_id,
                message_id=self._container.id,
                recipient_id=recipient_id,
                needs=int(policy.assurance),
                reply_allowed=policy.reply_allowed,
                accepted_at=now,
                expires_at=expires_at,
                remind_at=policy.remind_at(expires_at),
            ),
            messages.add_received(key=key, recipient_id=recipient_id, org_id=org_id, delivery_id=delivery_id),
            add_grant(grant),
            *link,
            outbox.add(job),
        ]


class Person:
    """A recipient: known, or about to be added with `added`."""

    def __init__(self, recipient_id: RecipientId, added: Statement | None) -> None:
        self.id, self.added = recipient_id, added


class House:
    """What every acceptance needs of the house: rows, the sealer, the announcer, and no key that reads."""

    def __init__(
        self, db: Database, sealer: Sealer, announcer: Announcer, preparing: Preparing, wake: Callable[[], None]
    ) -> None:
        """`wake` tells the worker of this process that something is due."""
        self.db, self.sealer, self.announcer = db, sealer, announcer
        self.preparing, self.source, self.wake = preparing, sealer.source, wake

    async def accept(self, relay: Relay, envelope: Envelope) -> Acceptance:
        container = self.sealer.container(relay.org_id, self.source.new_id())
        return Acceptance(self, relay, envelope, container, await container.stream(Kind.ORIGINAL))

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

    async def policy(self, org_id: OrgId) -> tuple[Policy, str]:
        """What the organisation asks for its messages, and the language of its notices."""
        found = await orgs.policy_in_force(self.db, org_id, DEFAULT_CLASS)
        if found is None:
            raise RecipientRefused(f"organisation {org_id} has no policy {DEFAULT_CLASS}")
        return found

    async def refused(self, relay: Relay, envelope: Envelope, reason: str) -> None:
        """Puts on record that a message was refused once it was whole."""
        event = SubmissionRefused(
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
