"""What an operator asks at the command line of messages and of the record. Every look is on record."""

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from portal.assembly import House, may_try
from portal.audit.export import COLUMNS, Export, Format, as_text
from portal.console import View
from portal.console.messages import Shown
from portal.db import deliveries, orgs, outbox, people
from portal.db.audit import Filter
from portal.db.deliveries import Delivery
from portal.db.orgs import Organisation
from portal.db.overview import Wanted
from portal.lifecycle.end import Lifecycle
from portal.model.errors import InputRefused, NotFound
from portal.model.events import By, Who
from portal.model.ids import DeliveryId, MessageId, RecipientId, is_id
from portal.model.message import DeliveryState
from portal.model.parties import address
from portal.model.routes import Mode
from portal.orgs.setup import Setup
from portal.signin.access import AccessCodes
from portal.signin.recovery import Begun


class Operator:
    """See the module."""

    def __init__(self, house: House, actor: str) -> None:
        self._house = house
        self.lifecycle = Lifecycle(house.db, house.source)
        self.release = house.release()
        self.by = By(Who.OPERATOR, actor)
        self._messages = house.messages()

    async def organisation(self, slug: str) -> Organisation:
        return await Setup(self._house.db, self._house.source, self.by).organisation(slug)

    async def has_arbiter(self, org: str) -> bool:
        organisation = await self.organisation(org)
        async with self._house.db.read() as tx:
            relays = await orgs.relays_of(tx, organisation.id)
        return any(one.mode is Mode.ARBITER and one.disabled_at is None for one in relays)

    def looks_at(self, address: str) -> bool:
        """Whether the portal tries a mail host at this address, as its settings are here."""
        return may_try(self._house.settings)(address)

    async def list_messages(
        self, org: str, sender: str | None, recipient: str | None, state: str | None, before: str | None, limit: int
    ) -> list[Shown]:
        """Deliveries, newest first. Raises InputRefused."""
        organisation = await self.organisation(org)
        view = View(organisation.id, self.by)
        try:
            wanted = Wanted(
                sender_hash=self._messages.sender_hash(view, sender) if sender else None,
                recipient_id=(await self._messages.find_recipient(view, recipient) or _NOBODY) if recipient else None,
                state=DeliveryState(state) if state else None,
            )
        except ValueError:
            raise InputRefused(f"States are {', '.join(DeliveryState)}.") from None
        found = await self._messages.search(view, wanted, DeliveryId(before) if before else None, limit)
        return found.shown

    async def show_message(self, org: str, message_id: str) -> list[str]:
        organisation = await self.organisation(org)
        try:
            found = await self._messages.message(View(organisation.id, self.by), message_id)
        except NotFound:
            raise InputRefused(f"{org} has no such message; `portal message list` names them.") from None
        first = found.timelines[0].shown
        facts = f"accepted {_utc(first.delivery.accepted_at)}, {first.line.size} bytes, policy {first.line.policy}"
        lines = [f"message {found.id}: {facts}, kept until {_utc(first.line.retain_until)}"]
        if first.line.scan:
            lines.append(f"virus scan: {first.line.scan} {first.line.scan_said}".rstrip())
        lines += [f"held: {one.id}, {one.owner}, review {one.review_at.date()}" for one in found.holds]
        for one in found.timelines:
            d = one.shown.delivery
            lines.append(f"delivery {d.id}: {d.state}, readable until {_utc(d.expires_at)}")
            lines += [f"  {line}" for line in _timeline(one.shown.delivery, one.mails)]
        return lines

    async def each(
        self,
        org: str,
        message_id: str,
        delivery_id: str | None,
        act: Callable[[Delivery], Awaitable[bool]],
        done: str,
    ) -> list[str]:
        """Does something to one delivery of a message, or to all; says for each what came of it."""
        organisation = await self.organisation(org)
        found = await self.deliveries(organisation, message_id, delivery_id)
        outcomes = await self.lifecycle.each(found, act)
        lines = [f"{one.delivery.id}: {one.refused or done}" for one in outcomes]
        if not any(one.refused == "" for one in outcomes):
            raise InputRefused("Nothing was changed. " + "; ".join(lines))
        return lines

    async def deliveries(self, organisation: Organisation, message_id: str, delivery_id: str | None) -> list[Delivery]:
        """Those of a message, or one of them. Raises InputRefused when there is none."""
        async with self._house.db.read() as tx:
            found = await deliveries.of_message(tx, MessageId(message_id)) if is_id(message_id) else []
        mine = [one for one in found if one.org_id == organisation.id and delivery_id in (None, one.id)]
        if not mine:
            raise InputRefused(
                f"{organisation.slug} has no such message or delivery; `portal message list` names them."
            )
        return mine


_NOBODY = RecipientId("")


def _timeline(one: Delivery, mails: list[outbox.Sent]) -> list[str]:
    """What happened, in words and in order."""
    facts: list[tuple[datetime, str]] = [
        (
            mail.settled_at or mail.made_at,
            f"{mail.kind} mail {mail.state}: {mail.host or ''} {mail.tls or ''} {mail.answer or ''}".rstrip(),
        )
        for mail in mails
    ]
    moments = {
        "opened": one.opened_at,
        "replied": one.replied_at,
        "notice bounced": one.bounced_at,
        "the sender was asked again": one.asked_at,
        f"ended: {one.end_reason}": one.ended_at,
    }
    facts += [(at, text) for text, at in moments.items() if at]
    return [f"{_utc(at)}  {text}" for at, text in sorted(facts)]


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


class Persons:
    """What an operator, or the help desk, does for a person's ways in. Each act and each look is on record."""

    def __init__(self, house: House, actor: str) -> None:
        self._house, self._by = house, By(Who.OPERATOR, actor)
        self._desk = house.person_desk()

    async def find(self, org: str, text: str) -> tuple[Organisation, RecipientId]:
        """Whose address this is or was. Raises InputRefused."""
        house = self._house
        organisation = await Setup(house.db, house.source, self._by).organisation(org)
        try:
            hashed = house.sealer.index(organisation.id, "recipient", str(address(text)))
        except ValueError:
            raise InputRefused(f"{text} is not a mail address.") from None
        async with house.db.read() as tx:
            found = await people.by_address(tx, organisation.id, hashed)
        if found is None:
            raise InputRefused(f"Nobody with this address has had a message from {org}.")
        return organisation, found

    async def set_access_code(self, org: str, message_id: str, delivery_id: str | None, code: str, hint: str) -> int:
        """Gives deliveries of a message an access code, in the place of any other; says how many. Raises InputRefused."""
        operator = Operator(self._house, self._by.actor)
        found = await operator.deliveries(await operator.organisation(org), message_id, delivery_id)
        return await AccessCodes(self._house.db, self._house.sealer, self._house.source).set(
            found, code, hint, self._by
        )

    async def set_phone(self, org: str, who: str, text: str) -> str:
        """Gives a person's number. Raises InputRefused."""
        organisation, recipient_id = await self.find(org, who)
        return await self._desk.set_phone(organisation.id, recipient_id, text, self._by)

    async def show(self, org: str, who: str) -> list[str]:
        """A person's ways in, sessions and recoveries, in words."""
        organisation, recipient_id = await self.find(org, who)
        found = await self._desk.look(organisation.id, recipient_id, self._by)
        app, texts = "an" if found.has.app else "no", "a" if found.has_phone else "no"
        ways = f"{found.has.passkeys} passkeys, {app} app, {found.has.codes_left} recovery codes, {texts} phone number"
        lines = [f"person {recipient_id}: {ways}"]
        lines += [
            f"session {one.ref[:16]}: {one.method}, {one.agent or 'unknown device'}, since {_utc(one.started_at)}, "
            f"last seen {_utc(one.seen_at)}"
            for one in found.sessions
        ]
        for one in found.recoveries:
            state = "stopped" if one.stopped_at else "applied" if one.applied_at else "waiting"
            lines.append(f"recovery {one.id}: {state}, {one.how}, by {one.staff}, effective {_utc(one.effective_at)}")
        return lines

    async def end_sessions(self, org: str, who: str) -> int:
        """Signs a person out everywhere; says how many sessions ended."""
        organisation, recipient_id = await self.find(org, who)
        return await self._desk.end_sessions(organisation.id, recipient_id, self._by)

    async def recover(self, org: str, who: str, how: str) -> Begun:
        """Begins a recovery of somebody who was proofed anew. Raises InputRefused."""
        organisation, recipient_id = await self.find(org, who)
        return await self._desk.recover(organisation.id, recipient_id, how, organisation.language, self._by)

    async def stop_recovery(self, org: str, who: str) -> bool:
        """Stops the recovery that is under way; says whether there was one."""
        _, recipient_id = await self.find(org, who)
        return await self._desk.stop_recovery(recipient_id, self._by)


async def audit_filter(
    house: House,
    actor: str,
    org: str | None,
    message: str | None,
    delivery: str | None,
    kind: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Filter:
    """The filter as an operator writes it; times without a zone are UTC."""
    organisation = await Setup(house.db, house.source, By(Who.OPERATOR, actor)).organisation(org) if org else None
    zoned = [at.replace(tzinfo=UTC) if at and at.tzinfo is None else at for at in (since, until)]
    return Filter(
        org_id=organisation.id if organisation else None,
        message_id=MessageId(message) if message else None,
        delivery_id=DeliveryId(delivery) if delivery else None,
        kind=kind,
        since=zoned[0],
        until=zoned[1],
    )


async def write_export(house: House, actor: str, wanted: Filter, to: Path, form: Format) -> int:
    """Writes the record to a new file that only its owner reads; returns how many lines. Raises InputRefused."""
    export, rows = Export(house.db, house.source, By(Who.OPERATOR, actor)), 0
    try:
        file = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputRefused(f"{to} can't be written: {error.strerror}") from None
    with os.fdopen(file, "w", encoding="utf-8", newline="") as target:
        if form == "csv":
            target.write(",".join(COLUMNS) + "\r\n")
        async for line in export.lines(wanted):
            target.write(as_text(line, form))
            rows += 1
        target.flush()
        os.fsync(target.fileno())
    await export.done(wanted, rows, form)
    return rows
