"""What an operator asks at the command line of messages and of the record. Every look is on record."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from portal.assembly import House
from portal.audit.export import COLUMNS, Export, Format, as_text
from portal.db import deliveries, given, messages, outbox, people, sessions
from portal.db.audit import Filter
from portal.db.deliveries import Delivery
from portal.db.orgs import Organisation
from portal.intake.codes import check_code
from portal.lifecycle.end import By, Lifecycle
from portal.model.errors import AskedMalformed, InputRefused
from portal.model.events import AccessCodeSet, Facts, MessagesListed, PersonLookedUp, PhoneSet, SessionEnded, Who
from portal.model.ids import DeliveryId, MessageId, RecipientId, is_id
from portal.model.parties import address
from portal.model.phones import number
from portal.orgs.setup import Setup
from portal.sealing import chosen
from portal.signin.enrolled import enrolled
from portal.signin.recovery import Begun
from portal.signin.sessions import IDLE


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
        found = await self.deliveries(organisation, message_id, None)
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
        for one in await self.deliveries(organisation, message_id, delivery_id):
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


class Persons:
    """What an operator, or the help desk, does for a person's ways in. Each act and each look is on record."""

    def __init__(self, house: House, actor: str) -> None:
        self._house, self._actor = house, actor
        self._desk = house.desk()

    async def find(self, org: str, text: str) -> tuple[Organisation, RecipientId]:
        """Whose address this is or was. Raises InputRefused."""
        house = self._house
        organisation = await Setup(house.db, house.source, self._actor).organisation(org)
        try:
            hashed = house.sealer.index(organisation.id, "recipient", str(address(text)))
        except ValueError:
            raise InputRefused(f"{text} is not a mail address.") from None
        async with house.db.read() as tx:
            found = await people.by_address(tx, organisation.id, hashed)
        if found is None:
            raise InputRefused(f"Nobody with this address has had a message from {org}.")
        await self._looked(organisation, found)
        return organisation, found

    async def _looked(self, org: Organisation, recipient_id: RecipientId) -> None:
        event = PersonLookedUp(**self._facts(org), recipient=recipient_id)
        await self._house.db.record(event)

    async def set_access_code(self, org: str, message_id: str, delivery_id: str | None, code: str, hint: str) -> int:
        """Gives deliveries of a message an access code, in the place of any other; says how many. Raises InputRefused."""
        house, operator = self._house, Operator(self._house, self._actor)
        try:
            check_code(code, hint or None)
        except AskedMalformed as error:
            raise InputRefused(f"{error}.".capitalize()) from None
        organisation = await operator.organisation(org)
        found = await operator.deliveries(organisation, message_id, delivery_id)
        code_hash = await chosen.hashed(code)
        for one in found:
            field = await house.sealer.field(organisation.id, one.id, "hint", hint.encode()) if hint else None
            sealed, epoch_id = (field.sealed, field.epoch_id) if field else (None, None)
            facts = self._facts(organisation) | {"message_id": one.message_id, "delivery_id": one.id}
            async with house.db.write(AccessCodeSet(**facts, hint=bool(hint))) as tx:
                code_row = given.AccessCode(one.id, organisation.id, code_hash, sealed, epoch_id)
                await given.set_access_code(tx, code_row)
        return len(found)

    async def set_phone(self, org: str, who: str, text: str) -> str:
        """Gives a person's number. Raises InputRefused."""
        organisation, recipient_id = await self.find(org, who)
        try:
            wanted = number(text)
        except ValueError:
            raise InputRefused(
                "A phone number begins with + and the country's code, such as +1 555 0100 000."
            ) from None
        field = await self._house.sealer.field(organisation.id, recipient_id, "phone", wanted.encode())
        async with self._house.db.write(PhoneSet(**self._facts(organisation), recipient=recipient_id)) as tx:
            await given.set_phone(tx, given.Phone(recipient_id, organisation.id, field.sealed, field.epoch_id))
        return wanted

    async def show(self, org: str, who: str) -> list[str]:
        """A person's ways in, sessions and recoveries, in words."""
        _, recipient_id = await self.find(org, who)
        now, has = self._house.source.now(), await enrolled(self._house.db, recipient_id)
        async with self._house.db.read() as tx:
            phone = await given.phone(tx, recipient_id)
            open_now = await sessions.open_of(tx, recipient_id, now, now - IDLE)
        app, texts = "an" if has.app else "no", "a" if phone else "no"
        ways = f"{has.passkeys} passkeys, {app} app, {has.codes_left} recovery codes, {texts} phone number"
        lines = [f"person {recipient_id}: {ways}"]
        lines += [
            f"session {one.ref[:16]}: {one.method}, {one.agent or 'unknown device'}, since {_utc(one.started_at)}, "
            f"last seen {_utc(one.seen_at)}"
            for one in open_now
        ]
        for one in await self._desk.of(recipient_id):
            state = "stopped" if one.stopped_at else "applied" if one.applied_at else "waiting"
            lines.append(f"recovery {one.id}: {state}, {one.how}, by {one.staff}, effective {_utc(one.effective_at)}")
        return lines

    async def end_sessions(self, org: str, who: str) -> int:
        """Signs a person out everywhere; says how many sessions ended."""
        organisation, recipient_id = await self.find(org, who)
        now = self._house.source.now()
        async with self._house.db.read() as tx:
            refs = tuple(one.ref for one in await sessions.open_of(tx, recipient_id, now, now - IDLE))
        async with self._house.db.write(
            SessionEnded(**self._facts(organisation), ended=refs, why="operator")
        ) as changed:
            return await sessions.end_all(changed, recipient_id)

    async def recover(self, org: str, who: str, how: str) -> Begun:
        """Begins a recovery of somebody who was proofed anew. Raises InputRefused."""
        organisation, recipient_id = await self.find(org, who)
        return await self._desk.begin(organisation.id, recipient_id, self._actor, how, organisation.language)

    async def stop_recovery(self, org: str, who: str) -> bool:
        """Stops the recovery that is under way; says whether there was one."""
        _, recipient_id = await self.find(org, who)
        stopped = [
            await self._desk.stop(one, Who.OPERATOR, self._actor, None) for one in await self._desk.of(recipient_id)
        ]
        return any(stopped)

    def _facts(self, org: Organisation) -> Facts:
        return Facts(
            at=self._house.source.now(),
            who=Who.OPERATOR,
            actor=self._actor,
            org_id=org.id,
            message_id=None,
            delivery_id=None,
            session=None,
            origin=None,
        )


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
