"""What a portal kept, held against what its clients were told (tests/fault/load.py)."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from email.message import EmailMessage
from itertools import pairwise
from typing import Any

from portal.assembly import House, open_house
from portal.audit.export import Export
from portal.clock import Source, utc_now
from portal.db import messages, outbox, overview, replies
from portal.db.audit import Filter, Recorded
from portal.db.deliveries import Delivery
from portal.db.overview import Wanted
from portal.db.replies import Reply
from portal.lifecycle.dispose import orphans
from portal.model.access import Reader
from portal.model.assurance import Assurance
from portal.model.events import By, Who
from portal.model.ids import DeliveryId
from portal.model.mails import LEASE
from portal.model.message import DeliveryState
from portal.operator import Operator
from tests.fault.live import Place
from tests.fault.load import READERS, Told
from tests.world import World

AHEAD = LEASE + timedelta(minutes=1)
_DORA = By(Who.OPERATOR, "dora")


@dataclass
class Kept:
    """What was found, for the assertions and the report."""

    content: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each (SHA-256 of the original, recipient) is there and readable."""
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    """As they stood before this looked."""
    replies: dict[str, Reply] = field(default_factory=dict)
    events: list[Recorded] = field(default_factory=list)
    """The record as it stood before this looked."""
    stray_blobs: int = 0
    """Sealed bytes that no row knew, which the sweep of a day later took."""
    late: int = 0
    """Mails that dead workers had claimed, sent when their leases had run out."""
    mails_before: int = 0
    """How many mails had gone out until then."""
    twice: int = 0
    """Mails that went out again: their worker was killed after the mail host had taken them and before that was on record."""

    def count(self, kind: str, **detail: Any) -> Counter[str]:
        """Events of a kind, by delivery."""
        return Counter(
            event.delivery_id or ""
            for event in self.events
            if event.kind == kind and all(event.detail.get(name) == value for name, value in detail.items())
        )


async def look(where: Place) -> Kept:
    """Lets the leases of dead workers run out, sends what was left, and reads all there is. The portal must be down."""
    kept = Kept(mails_before=len(where.mails))
    async with open_house(where.settings, Source(now=lambda: utc_now() + AHEAD)) as house:
        worker = house.worker()
        while taken := await worker.send_due():
            kept.late += taken
        async with house.db.read() as tx:
            assert await outbox.next_due(tx) is None, "mails were left in the outbox"
        kept.events = [line async for line in Export(house.db, house.source, By(Who.OPERATOR, "test")).lines(Filter())]
        people = await _people(house, where)
        for delivery in await _every_delivery(house, where):
            kept.deliveries[delivery.id] = delivery
            kept.replies |= {one.id: one for one in await replies.of_delivery(house.db, delivery.id)}
            kept.content[await _digest(house, delivery), people[delivery.recipient_id]] += 1
    tomorrow = timedelta(hours=25)
    async with open_house(where.settings, Source(now=lambda: utc_now() + tomorrow)) as house:
        kept.stray_blobs = await house.disposition().sweep()
        assert await orphans(house.db, house.blobs, house.source.now()) == []
    return kept


async def _people(house: House, where: Place) -> dict[str, str]:
    found = {}
    for who in READERS:
        hashed = house.sealer.index(where.clinic.id, "recipient", who)
        found[str(await messages.recipient_id(house.db, where.clinic.id, hashed))] = who
    return found


async def _every_delivery(house: House, where: Place) -> list[Delivery]:
    found: list[Delivery] = []
    before: DeliveryId | None = None
    while True:
        async with house.db.read() as tx:
            page = [one.delivery for one in await overview.page(tx, where.clinic.id, Wanted(), before, 200)]
        found += page
        if not page:
            return found
        before = page[-1].id


async def _digest(house: House, delivery: Delivery) -> str:
    """Reads a message as its recipient; one that was taken back is given back first."""
    if delivery.state is DeliveryState.REVOKED:
        await Operator(house, "dora").lifecycle.restore(delivery, _DORA, "to look")
    reader = Reader(delivery.recipient_id, delivery.org_id, Assurance.MAILBOX, "00" * 32, None)
    download = await house.site().reading.original(reader, delivery.id)
    digest = hashlib.sha256()
    async for piece in download.pieces:
        digest.update(piece)
    return digest.hexdigest()


# -- the promises


Sent = dict[str, list[tuple[float, EmailMessage]]]
"""Mails that went out, with the portal's time, by Message-ID."""


def check(told: Told, kept: Kept, where: Place) -> list[str]:
    """Each promise that was broken, a line each."""
    sent: Sent = {}
    for number, (at, caught) in enumerate(where.mails):
        mail = World.read(caught)
        when = at if number < kept.mails_before else at + AHEAD.total_seconds()
        sent.setdefault(str(mail["Message-ID"]), []).append((when, mail))
    kept.twice = sum(len(mails) - 1 for mails in sent.values())
    return [*_messages(told, kept), *_views(told, kept), *_answers(told, kept, sent), *_notices(kept, sent)]


def _messages(told: Told, kept: Kept) -> list[str]:
    """Every message is there once for each recipient, and nothing else is."""
    want = {(hashlib.sha256(one.raw).hexdigest(), who): one for one in told.letters.values() for who in one.to}
    broken = [f"{one.tag} was never answered 250" for one in told.letters.values() if one.tag not in told.stored]
    for who, one in want.items():
        if kept.content[who] != 1:
            broken.append(f"{one.tag} to {who[1]} is there {kept.content[who]} times")
    broken += [f"nobody sent {what}" for what in kept.content if what not in want]
    accepted = Counter(event.message_id for event in kept.events if event.kind == "MessageAccepted")
    for delivery in kept.deliveries.values():
        if accepted[delivery.message_id] != 1:
            broken.append(f"message {delivery.message_id} has {accepted[delivery.message_id]} MessageAccepted")
    return broken


def _views(told: Told, kept: Kept) -> list[str]:
    """No answer without its event; nothing after a revocation."""
    broken = []
    for kind, seen, events in (
        ("a view", told.opened, kept.count("MessageOpened", part="summary")),
        ("a download", told.downloaded, kept.count("OriginalDownloaded")),
    ):
        broken += [f"{kind} of {one}: {n} answers, {events[one]} events" for one, n in seen.items() if events[one] < n]
    broken += [f"{one} was shown after it was revoked" for one in told.seen_after]
    for one in told.revoked:
        if kept.deliveries[one].state is not DeliveryState.REVOKED or kept.count("DeliveryRevoked")[one] != 1:
            broken.append(f"{one} was said to be revoked and is {kept.deliveries[one].state}")
    return broken


def _answers(told: Told, kept: Kept, sent: Sent) -> list[str]:
    """A reply that was answered is kept once, handed over whole, and known by its Message-ID if it went twice."""
    broken = []
    submitted = Counter(event.detail["reply_id"] for event in kept.events if event.kind == "ReplySubmitted")
    for reply_id, (marker, sha256) in told.replied.items():
        reply, mails = kept.replies.get(reply_id), sent.get(f"<{reply_id}@portal.example>", [])
        if reply is None or reply.state != "handed-over" or submitted[reply_id] != 1:
            broken.append(f"reply {reply_id} is {reply and reply.state}, submitted {submitted[reply_id]} times")
        if not mails or any(not _carries(mail, marker, sha256) for _, mail in mails):
            broken.append(f"reply {reply_id} went out {len(mails)} times, not as it was written")
    return broken


def _carries(mail: EmailMessage, marker: str, sha256: str) -> bool:
    body = mail.get_body(("plain",))
    files = [part.get_content() for part in mail.iter_attachments()]
    text = str(body.get_content()) if body else ""
    return marker in text and sha256 in {hashlib.sha256(one).hexdigest() for one in files}


def _notices(kept: Kept, sent: Sent) -> list[str]:
    """Everybody was told, unless the message was taken back before; nobody twice within a lease."""
    told = kept.count("NoticeSent", reminder=False)
    broken = [
        f"{one.id} was told {told[one.id]} times"
        for one in kept.deliveries.values()
        if told[one.id] != 1 and one.state is not DeliveryState.REVOKED
    ]
    for name, mails in sent.items():
        moments = [at for at, _ in mails]
        if any(later - sooner < LEASE.total_seconds() for sooner, later in pairwise(moments)):
            broken.append(f"mail {name} went out again within {LEASE}")
    return broken
