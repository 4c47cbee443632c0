"""Persons: the mailbox by which one is known, those she had before, who reads a shared one, and her recoveries."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update

from portal.db.tables import (
    address_changes,
    deliveries,
    former_addresses,
    members,
    recipients,
    recoveries,
)
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.events import (
    AddressChangeAsked,
    AddressChanged,
    MailboxShared,
    MemberNamed,
    RecoveryApplied,
    RecoveryBegun,
    RecoveryStopped,
)
from portal.model.ids import DeliveryId, EpochId, MemberId, MessageId, OrgId, RecipientId, RecoveryId


async def by_address(tx: ReadTx, org_id: OrgId, address_hash: bytes) -> RecipientId | None:
    """Who has this address in this organisation, now or formerly."""
    now, before = recipients.c, former_addresses.c
    for column, whose, hashed in (
        (now.id, now.org_id, now.address_hash),
        (before.recipient_id, before.org_id, before.address_hash),
    ):
        row = await tx.row(select(column).where(whose == org_id, hashed == address_hash))
        if row is not None:
            return RecipientId(row._mapping[column])
    return None


async def newest_delivery(tx: ReadTx, recipient_id: RecipientId) -> tuple[DeliveryId, MessageId] | None:
    """What a mail about the person herself hangs on."""
    statement = select(deliveries.c.id, deliveries.c.message_id).where(deliveries.c.recipient_id == recipient_id)
    row = await tx.row(statement.order_by(deliveries.c.id.desc()).limit(1))
    return (row.id, row.message_id) if row else None


@dataclass(frozen=True)
class Sealed:
    """An address as it is kept; opened as the field `address` of `row_id`."""

    row_id: str
    epoch_id: EpochId
    address_sealed: bytes


async def is_of(tx: ReadTx, org_id: OrgId, recipient_id: RecipientId) -> bool:
    """Whether somebody is a recipient of this organisation."""
    statement = select(recipients.c.id).where(recipients.c.id == recipient_id, recipients.c.org_id == org_id)
    return await tx.row(statement) is not None


async def known_addresses(tx: ReadTx, recipient_id: RecipientId) -> list[Sealed]:
    """Every address that is or was the person's."""
    now = await tx.rows(
        select(recipients.c.id, recipients.c.epoch_id, recipients.c.address_sealed).where(
            recipients.c.id == recipient_id
        )
    )
    before = await tx.rows(
        select(former_addresses.c.recipient_id, former_addresses.c.epoch_id, former_addresses.c.address_sealed).where(
            former_addresses.c.recipient_id == recipient_id
        )
    )
    found = [Sealed(row.id, row.epoch_id, row.address_sealed) for row in now]
    return found + [Sealed(row.recipient_id, row.epoch_id, row.address_sealed) for row in before]


# -- several people at one mailbox


@dataclass(frozen=True)
class Member:
    """One of those who read a shared mailbox; the name is sealed."""

    id: MemberId
    org_id: OrgId
    recipient_id: RecipientId
    name_sealed: bytes
    epoch_id: EpochId
    added_at: datetime


async def members_of(tx: ReadTx, recipient_id: RecipientId) -> list[Member]:
    rows = await tx.rows(select(members).where(members.c.recipient_id == recipient_id).order_by(members.c.id))
    return [Member(**row._mapping) for row in rows]


async def add_member(tx: WriteTx[MemberNamed], member: Member) -> None:
    await tx.change(insert(members).values(vars(member)))


async def set_shared(tx: WriteTx[MailboxShared], recipient_id: RecipientId) -> None:
    at = tx.event.at if tx.event.shared else None
    await tx.change(update(recipients).where(recipients.c.id == recipient_id).values(shared_at=at))


# -- another address


@dataclass(frozen=True)
class AddressChange:
    """A new address that waits to be proved with the code sent to it."""

    id: str
    org_id: OrgId
    recipient_id: RecipientId
    session_hash: bytes
    address_hash: bytes
    address_sealed: bytes
    epoch_id: EpochId
    code_hash: bytes
    made_at: datetime
    expires_at: datetime
    tries: int = 0
    used_at: datetime | None = None


async def ask_change(tx: WriteTx[AddressChangeAsked], change: AddressChange) -> None:
    await tx.change(insert(address_changes).values(vars(change)))


async def changes_since(tx: ReadTx, recipient_id: RecipientId, since: datetime) -> list[datetime]:
    mine = (address_changes.c.recipient_id == recipient_id, address_changes.c.made_at > since)
    rows = await tx.rows(select(address_changes.c.made_at).where(*mine).order_by(address_changes.c.made_at))
    return [row.made_at for row in rows]


async def change(tx: BookkeepingTx, change_id: str) -> AddressChange | None:
    """A change, locked until the transaction ends."""
    row = await tx.row(select(address_changes).where(address_changes.c.id == change_id).with_for_update())
    return AddressChange(**row._mapping) if row else None


async def count_change_try(tx: BookkeepingTx, change_id: str) -> None:
    counted = update(address_changes).where(address_changes.c.id == change_id)
    await tx.change(counted.values(tries=address_changes.c.tries + 1))


async def move(tx: WriteTx[AddressChanged], wanted: AddressChange) -> bool:
    """Gives a person her new address; the old one stays known as hers. Says whether the change was unused.

    Raises Duplicate when the new address is another recipient's.
    """
    unused = (address_changes.c.id == wanted.id, address_changes.c.used_at.is_(None))
    if await tx.change(update(address_changes).where(*unused).values(used_at=tx.event.at)) != 1:
        return False
    row = await tx.row(select(recipients).where(recipients.c.id == wanted.recipient_id).with_for_update())
    assert row is not None
    former = tx.insert(former_addresses).values(
        org_id=row.org_id,
        address_hash=row.address_hash,
        recipient_id=row.id,
        address_sealed=row.address_sealed,
        epoch_id=row.epoch_id,
        until_at=tx.event.at,
    )
    key = [former_addresses.c.org_id, former_addresses.c.address_hash]
    await tx.change(former.on_conflict_do_nothing(index_elements=key))
    values = {
        "address_hash": wanted.address_hash,
        "address_sealed": wanted.address_sealed,
        "epoch_id": wanted.epoch_id,
    }
    await tx.change(update(recipients).where(recipients.c.id == wanted.recipient_id).values(values))
    return True


# -- recovery by the help desk


@dataclass(frozen=True)
class Recovery:
    """Ways in that are to be removed after a delay; `code_hash` is of the access code that was given to the person."""

    id: RecoveryId
    org_id: OrgId
    recipient_id: RecipientId
    staff: str
    how: str
    code_hash: str
    stop_hash: bytes
    begun_at: datetime
    effective_at: datetime
    applied_at: datetime | None = None
    stopped_at: datetime | None = None


async def begin_recovery(tx: WriteTx[RecoveryBegun], recovery: Recovery) -> None:
    await tx.change(insert(recoveries).values(vars(recovery)))


async def recovery_to_stop(tx: ReadTx, stop_hash: bytes) -> Recovery | None:
    row = await tx.row(select(recoveries).where(recoveries.c.stop_hash == stop_hash))
    return Recovery(**row._mapping) if row else None


async def recoveries_of(tx: ReadTx, recipient_id: RecipientId) -> list[Recovery]:
    """Newest first."""
    statement = select(recoveries).where(recoveries.c.recipient_id == recipient_id).order_by(recoveries.c.id.desc())
    return [Recovery(**row._mapping) for row in await tx.rows(statement)]


async def recoveries_due(tx: ReadTx, now: datetime, limit: int) -> list[Recovery]:
    due = (
        recoveries.c.effective_at <= now,
        recoveries.c.applied_at.is_(None),
        recoveries.c.stopped_at.is_(None),
    )
    rows = await tx.rows(select(recoveries).where(*due).order_by(recoveries.c.effective_at).limit(limit))
    return [Recovery(**row._mapping) for row in rows]


async def stop_recovery(tx: WriteTx[RecoveryStopped], recovery_id: RecoveryId) -> bool:
    """Says whether it had neither been applied nor stopped."""
    waiting = (recoveries.c.id == recovery_id, recoveries.c.applied_at.is_(None), recoveries.c.stopped_at.is_(None))
    return await tx.change(update(recoveries).where(*waiting).values(stopped_at=tx.event.at)) == 1


async def applied(tx: WriteTx[RecoveryApplied], recovery_id: RecoveryId) -> bool:
    waiting = (recoveries.c.id == recovery_id, recoveries.c.applied_at.is_(None), recoveries.c.stopped_at.is_(None))
    return await tx.change(update(recoveries).where(*waiting).values(applied_at=tx.event.at)) == 1
