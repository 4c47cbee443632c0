"""Deliveries as staff see them: searched, listed, one message with a timeline a recipient. Who and when, never what.

Addresses are opened to be shown; subjects and content are not, and nothing here could.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from portal.clock import Source
from portal.console import View
from portal.db import audit, graduations, holds, outbox, overview, people, routes
from portal.db.audit import Filter, Recorded
from portal.db.deliveries import Delivery
from portal.db.engine import Database
from portal.db.holds import Criteria, Hold
from portal.db.outbox import Sent
from portal.db.overview import Line, Wanted
from portal.db.routes import VerdictRow
from portal.db.tx import ReadTx
from portal.model.errors import InputRefused, NotFound
from portal.model.events import MessagesListed, ReportRead
from portal.model.ids import DeliveryId, MessageId, OrgId, RecipientId, is_id
from portal.model.mails import MailKind
from portal.model.message import DeliveryState
from portal.model.parties import address
from portal.model.routes import Outcome, Rule
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer

PAGE = 50
MOST_AT_ONCE = 200
"""Deliveries that one act takes."""
_TO_SENDERS = (MailKind.STOPPED.value, MailKind.EXPIRING.value, MailKind.UNREAD.value, MailKind.UNDELIVERED.value)
_MOST_EVENTS = 500
_SEEN = ("MessageOpened", "AttachmentOpened", "OriginalDownloaded")


@dataclass(frozen=True)
class Shown:
    """A delivery with the addresses it is from and for."""

    line: Line
    recipient: str
    sender: str

    @property
    def delivery(self) -> Delivery:
        return self.line.delivery


@dataclass(frozen=True)
class Page:
    """A page of a list; `after` is the key of the next one, None on the last."""

    shown: list[Shown]
    after: DeliveryId | None


@dataclass(frozen=True)
class Moment:
    """Something that happened to a delivery: an event of the record."""

    at: datetime
    kind: str
    who: str
    actor: str
    detail: dict[str, object]
    origin: str


@dataclass(frozen=True)
class Came:
    """Why a delivery came here: the rule, and the verdict with its transcript where the portal looked."""

    rule: Rule
    outcome: Outcome | None
    transcript: tuple[str, ...]


@dataclass(frozen=True)
class Timeline:
    """One recipient of a message, and what happened, oldest first. `mails` are those to him and about him."""

    shown: Shown
    moments: list[Moment]
    mails: list[Sent]
    has_access_code: bool
    came: Came | None = None
    safe: Came | None = None
    """By which verdict it was sent on to the mailbox."""

    @property
    def viewed(self) -> list[Moment]:
        """When content was released to the recipient."""
        return [one for one in self.moments if one.kind in _SEEN]

    @property
    def machines(self) -> list[Moment]:
        """Fetches of the link that no person made."""
        return [one for one in self.moments if one.kind == "LinkFollowed" and one.detail.get("machine")]


@dataclass(frozen=True)
class Message:
    """A message with all its recipients, as far as the asker sees it."""

    id: MessageId
    timelines: list[Timeline]
    holds: list[Hold]
    relay: str
    kek_id: str


@dataclass(frozen=True)
class Unread:
    """A delivery that ended unread, and who was told when: (occasion, how it went, when)."""

    shown: Shown
    told: list[overview.Told]


class Messages:
    """See the module."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source) -> None:
        self._db, self._sealer, self._fields, self._source = db, sealer, fields, source

    async def find_recipient(self, view: View, text: str) -> RecipientId | None:
        """Whose address this is or was, of those that the asker sees. Raises InputRefused for what is no address."""
        hashed = self._sealer.index(view.org_id, "recipient", _address(text, "recipient"))
        async with self._db.read() as tx:
            found = await people.by_address(tx, view.org_id, hashed)
        return found if found and await self.sees(view, found) else None

    async def look_up(self, view: View, text: str) -> RecipientId | None:
        """The same, where no list follows in the same breath: on record, found or not."""
        found = await self.find_recipient(view, text)
        event = MessagesListed(
            **view.by.facts(self._source.now(), view.org_id),
            query=("recipient",),
            found=int(bool(found)),
            recipient=found,
        )
        await self._db.record(event)
        return found

    async def sees(self, view: View, recipient_id: RecipientId) -> bool:
        """Whether it is anything to this asker who that is: a sender knows of those she wrote to, and of nobody else."""
        if view.own is None:
            return True
        async with self._db.read() as tx:
            return bool(await overview.page(tx, view.org_id, Wanted(recipient_id=recipient_id), None, 1, view.own))

    def sender_hash(self, view: View, text: str) -> bytes:
        """Raises InputRefused for what is no address."""
        return self._sealer.index(view.org_id, "sender", _address(text, "sender"))

    async def search(self, view: View, wanted: Wanted, before: DeliveryId | None = None, limit: int = PAGE) -> Page:
        """A page of deliveries, newest first."""
        async with self._db.read() as tx:
            lines = await overview.page(tx, view.org_id, wanted, before, limit + 1, view.own)
        shown = [await self._shown(one) for one in lines[:limit]]
        event = MessagesListed(
            **view.by.facts(self._source.now(), view.org_id),
            query=wanted.named,
            found=len(shown),
            recipient=wanted.recipient_id,
        )
        await self._db.record(event)
        return Page(shown, shown[-1].delivery.id if len(lines) > limit else None)

    async def stopped(self, view: View) -> list[str]:
        """The states of messages that the virus scanner stopped, of those that there are; it says of none which."""
        async with self._db.read() as tx:
            return [
                state.value
                for state in (DeliveryState.UNSCANNED, DeliveryState.QUARANTINED)
                if await overview.page(tx, view.org_id, Wanted(state=state), None, 1, view.own)
            ]

    async def message(self, view: View, message_id: str, query: str = "message") -> Message:
        """Raises NotFound for one that is not there, or not for this asker: alike."""
        async with self._db.read() as tx:
            found = await overview.of_message(tx, view.org_id, MessageId(message_id)) if is_id(message_id) else []
            lines = [one for one in found if view.own in (None, one.delivery.sender_hash)]
            held = await holds.of_message(tx, MessageId(message_id)) if lines else []
            relay, kek_id = await overview.came_by(tx, MessageId(message_id)) if lines else ("", "")
            coded = await overview.with_access_code(tx, [one.delivery.id for one in lines])
            verdicts = await routes.verdicts_of(tx, [one.delivery.id for one in lines])
            onward = await graduations.of(tx, [one.delivery.id for one in lines])
            mails = {one.delivery.id: await outbox.of_delivery(tx, one.delivery.id) for one in lines}
            events = {one.delivery.id: await _events(tx, one.delivery.id) for one in lines}
        if not lines:
            raise NotFound("no such message")
        event = MessagesListed(
            **view.by.facts(self._source.now(), view.org_id, MessageId(message_id)), query=(query,), found=len(lines)
        )
        await self._db.record(event)
        timelines = [
            Timeline(
                await self._shown(one),
                [_moment(event) for event in events[one.delivery.id]],
                mails[one.delivery.id],
                one.delivery.id in coded,
                await self._came(verdicts.get(one.delivery.id)),
                await self._safe(onward.get(one.delivery.id)),
            )
            for one in lines
        ]
        return Message(MessageId(message_id), timelines, held, relay, kek_id)

    async def _came(self, row: VerdictRow | None) -> Came | None:
        if row is None:
            return None
        if row.transcript_sealed is None or row.epoch_id is None:
            return Came(row.rule, row.outcome, ())
        field = Field(row.epoch_id, row.transcript_sealed)
        text = (await self._fields.open(row.org_id, row.delivery_id, "verdict", field)).decode()
        return Came(row.rule, row.outcome, tuple(text.split("\n")))

    async def _safe(self, row: graduations.Row | None) -> Came | None:
        if row is None or row.transcript_sealed is None or row.epoch_id is None:
            return None
        field = Field(row.epoch_id, row.transcript_sealed)
        text = (await self._fields.open(row.org_id, row.delivery_id, "graduation", field)).decode()
        return Came(row.came_by, Outcome.DIRECT, tuple(text.split("\n")))

    async def chosen(self, view: View, ids: Sequence[str], query: str = "") -> list[Shown]:
        """The deliveries that an act is for; with `query` the look itself is on record, as when nothing is done yet. Raises NotFound
        unless every one is there for this asker."""
        wanted = list(dict.fromkeys(DeliveryId(one) for one in ids if is_id(one)))
        if not wanted:
            raise InputRefused("Choose at least one recipient.", "d")
        if len(wanted) > MOST_AT_ONCE:
            raise InputRefused(f"Choose at most {MOST_AT_ONCE} at once.", "d")
        async with self._db.read() as tx:
            lines = await overview.some(tx, view.org_id, wanted)
        mine = [one for one in lines if view.own in (None, one.delivery.sender_hash)]
        if len(mine) != len(wanted):
            raise NotFound("no such delivery")
        if query:
            facts = view.by.facts(self._source.now(), view.org_id)
            await self._db.record(MessagesListed(**facts, query=(query,), found=len(mine)))
        return [await self._shown(one) for one in mine]

    async def unread(self, view: View, before: DeliveryId | None = None) -> tuple[list[Unread], DeliveryId | None]:
        """What ended unread, newest first, and who was told of it when."""
        wanted = Wanted(unread=True)
        async with self._db.read() as tx:
            lines = await overview.page(tx, view.org_id, wanted, before, PAGE + 1, view.own)
            told = await overview.told(tx, [one.delivery.id for one in lines], _TO_SENDERS)
        rows = [
            Unread(await self._shown(one), [mail for mail in told if mail.delivery_id == one.delivery.id])
            for one in lines[:PAGE]
        ]
        await self._db.record(
            ReportRead(**view.by.facts(self._source.now(), view.org_id), report="unread", rows=len(rows))
        )
        return rows, rows[-1].shown.delivery.id if len(lines) > PAGE else None

    async def requests(self, view: View) -> list[Shown]:
        """Messages that a recipient asked to read again, and nobody has answered."""
        async with self._db.read() as tx:
            lines = await overview.page(tx, view.org_id, Wanted(asked=True), None, MOST_AT_ONCE, view.own)
        shown = [await self._shown(one) for one in lines]
        event = ReportRead(**view.by.facts(self._source.now(), view.org_id), report="requests", rows=len(shown))
        await self._db.record(event)
        return shown

    async def knows(self, org_id: OrgId, recipient_id: RecipientId) -> bool:
        """Whether this is a recipient of the organisation."""
        async with self._db.read() as tx:
            return await people.is_of(tx, org_id, recipient_id)

    async def recipient_address(self, org_id: OrgId, recipient_id: RecipientId) -> str:
        """For showing what was searched for, or what a hold keeps; empty when nobody is there."""
        async with self._db.read() as tx:
            known = (
                await people.known_addresses(tx, recipient_id) if await people.is_of(tx, org_id, recipient_id) else []
            )
        if not known:
            return ""
        field = Field(known[0].epoch_id, known[0].address_sealed)
        return (await self._fields.open(org_id, known[0].row_id, "address", field)).decode()

    async def sender_address(self, org_id: OrgId, sender_hash: bytes) -> str:
        """As of the newest message; empty when there is none."""
        async with self._db.read() as tx:
            lines = await overview.page(tx, org_id, Wanted(sender_hash=sender_hash), None, 1)
        return (await self._shown(lines[0])).sender if lines else ""

    async def criteria_in_words(self, org_id: OrgId, criteria: Criteria) -> list[tuple[str, str]]:
        """What a hold keeps, as (criterion, value)."""
        found: list[tuple[str, str]] = []
        if criteria.message_id:
            found.append(("message", criteria.message_id))
        if criteria.recipient_id:
            found.append(("recipient", await self.recipient_address(org_id, criteria.recipient_id)))
        if criteria.sender_hash:
            found.append(("sender", await self.sender_address(org_id, criteria.sender_hash)))
        if criteria.policy_name:
            found.append(("class", criteria.policy_name))
        if criteria.accepted_from:
            found.append(("from", criteria.accepted_from.date().isoformat()))
        if criteria.accepted_until:
            found.append(("until", criteria.accepted_until.date().isoformat()))
        return found

    async def _shown(self, line: Line) -> Shown:
        one = line.delivery
        to = await self._fields.open(
            one.org_id, one.recipient_id, "address", Field(line.recipient_epoch, line.recipient_sealed)
        )
        sender = await self._fields.open(
            one.org_id, one.message_id, "sender", Field(line.sender_epoch, line.sender_sealed)
        )
        return Shown(line, to.decode(), sender.decode())


async def _events(tx: ReadTx, delivery_id: DeliveryId) -> list[Recorded]:
    """The first ones, and of what counts as a view the first ones too: fetches of the link, however many, hide none."""
    found = await audit.page(tx, Filter(delivery_id=delivery_id), None, _MOST_EVENTS)
    last = found[-1].id if len(found) == _MOST_EVENTS else None
    for kind in _SEEN if last else ():
        found += await audit.page(tx, Filter(delivery_id=delivery_id, kind=kind), last, _MOST_EVENTS)
    return sorted(found, key=lambda one: one.id)


def _moment(line: Recorded) -> Moment:
    return Moment(line.at, line.kind, line.who, line.actor, line.detail, line.origin or "")


def _address(text: str, field: str) -> str:
    try:
        return str(address(text))
    except ValueError:
        raise InputRefused("This is no mail address. Search takes whole addresses only.", field) from None
