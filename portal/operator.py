"""What an operator asks at the command line of messages and of the record. Every look is on record."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from portal.assembly import House
from portal.audit.export import COLUMNS, Export, Format, as_text
from portal.db import deliveries, messages, outbox
from portal.db.audit import Filter
from portal.db.deliveries import Delivery
from portal.db.orgs import Organisation
from portal.lifecycle.end import By, Lifecycle
from portal.model.errors import InputRefused
from portal.model.events import MessagesListed, Who
from portal.model.ids import DeliveryId, MessageId, is_id
from portal.model.parties import address
from portal.orgs.setup import Setup


@dataclass(frozen=True)
class ListedMessage:
    """A line of `portal message list`. `states` counts deliveries by state."""

    id: MessageId
    accepted_at: datetime
    size: int
    states: str


class Operator:
    """See the module."""

    def __init__(self, house: House, actor: str) -> None:
        self._house, self._actor = house, actor
        self.lifecycle = Lifecycle(house.db, house.source)
        self.by = By(Who.OPERATOR, actor)

    async def organisation(self, slug: str) -> Organisation:
        return await Setup(self._house.db, self._house.source, self._actor).organisation(slug)

    async def list_messages(
        self, org: str, sender: str | None, recipient: str | None, state: str | None, before: str | None, limit: int
    ) -> list[ListedMessage]:
        organisation = await self.organisation(org)
        async with self._house.db.read() as tx:
            rows = await messages.page(
                tx,
                organisation.id,
                before=MessageId(before) if before else None,
                limit=limit,
                sender_hash=self._index(organisation, "sender", sender),
                recipient_hash=self._index(organisation, "recipient", recipient),
                state=state,
            )
            found = [
                ListedMessage(r.id, r.accepted_at, r.size, _states(await deliveries.of_message(tx, r.id))) for r in rows
            ]
        given = {"sender": sender, "recipient": recipient, "state": state}
        await self._looked(organisation, tuple(name for name, value in given.items() if value), len(found), None)
        return found

    def _index(self, organisation: Organisation, kind: str, text: str | None) -> bytes | None:
        if text is None:
            return None
        try:
            return self._house.sealer.index(organisation.id, kind, str(address(text)))
        except ValueError:
            raise InputRefused(f"{text} is not a mail address.") from None

    async def show_message(self, org: str, message_id: str) -> list[str]:
        organisation = await self.organisation(org)
        found = await self._deliveries(organisation, message_id, None)
        async with self._house.db.read() as tx:
            message = await messages.one(tx, found[0].message_id)
            policy = await deliveries.policy_name(tx, found[0].message_id)
            mails = {one.id: await outbox.of_delivery(tx, one.id) for one in found}
        assert message is not None
        await self._looked(organisation, ("message",), len(found), message.id)
        facts = f"accepted {_utc(message.accepted_at)}, {message.size} bytes, policy {policy}"
        lines = [f"message {message.id}: {facts}, kept until {_utc(message.retain_until)}"]
        for one in found:
            lines.append(f"delivery {one.id}: {one.state}, readable until {_utc(one.expires_at)}")
            lines += [f"  {line}" for line in _timeline(one, mails[one.id])]
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
        lines, acted = [], 0
        for one in await self._deliveries(organisation, message_id, delivery_id):
            try:
                changed = await act(one) or await self._once_more(one, act)
                lines.append(f"{one.id}: {done if changed else 'changed meanwhile; look again'}")
                acted += changed
            except InputRefused as error:
                lines.append(f"{one.id}: {error.say}")
        if not acted:
            raise InputRefused("Nothing was changed. " + "; ".join(lines))
        return lines

    async def _once_more(self, delivery: Delivery, act: Callable[[Delivery], Awaitable[bool]]) -> bool:
        """It changed between the look and the act (somebody opened it): acts on what it is now."""
        async with self._house.db.read() as tx:
            now = await deliveries.one(tx, delivery.id)
        return now is not None and await act(now)

    async def _deliveries(self, organisation: Organisation, message_id: str, delivery_id: str | None) -> list[Delivery]:
        async with self._house.db.read() as tx:
            found = await deliveries.of_message(tx, MessageId(message_id)) if is_id(message_id) else []
        mine = [one for one in found if one.org_id == organisation.id and delivery_id in (None, one.id)]
        if not mine:
            raise InputRefused(
                f"{organisation.slug} has no such message or delivery; `portal message list` names them."
            )
        return mine

    async def _looked(
        self, org: Organisation, query: tuple[str, ...], found: int, message_id: MessageId | None
    ) -> None:
        event = MessagesListed(
            at=self._house.source.now(),
            who=Who.OPERATOR,
            actor=self._actor,
            org_id=org.id,
            message_id=message_id,
            query=query,
            found=found,
        )
        await self._house.db.record(event)


def _states(found: list[Delivery]) -> str:
    counts: dict[str, int] = {}
    for one in found:
        counts[one.state.value] = counts.get(one.state.value, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in counts.items())


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
    organisation = await Setup(house.db, house.source, actor).organisation(org) if org else None
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
    export, rows = Export(house.db, house.source, actor), 0
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
