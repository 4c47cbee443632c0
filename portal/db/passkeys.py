"""Passkeys and the challenges of their ceremonies."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from portal.db.engine import Database
from portal.db.hot import Hot
from portal.db.tables import ceremonies
from portal.db.tables import passkeys as t
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import (
    PasskeyAdded,
    PasskeyRemoved,
    PasskeyRenamed,
    PasskeySuspected,
    RecoveryApplied,
    SignedIn,
    SteppedUp,
)
from portal.model.ids import EpochId, MemberId, OrgId, PasskeyId, RecipientId


@dataclass(frozen=True)
class Passkey:
    """A credential bound to a person; its name is sealed. `vouched` is the level of the sign-in that bound it."""

    id: PasskeyId
    org_id: OrgId
    recipient_id: RecipientId
    member_id: MemberId | None
    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backed_up: bool
    transports: str
    name_sealed: bytes
    epoch_id: EpochId
    vouched: Assurance
    made_at: datetime
    used_at: datetime | None = None
    suspect_at: datetime | None = None


def _passkey(row: Row[Any]) -> Passkey:
    values = {name: getattr(row, name) for name in Passkey.__dataclass_fields__}
    return Passkey(**{**values, "vouched": Assurance(row.vouched)})


async def by_credential(tx: ReadTx, credential_id: bytes) -> Passkey | None:
    row = await tx.row(select(t).where(t.c.credential_id == credential_id))
    return _passkey(row) if row else None


async def of(tx: ReadTx, recipient_id: RecipientId) -> list[Passkey]:
    """A person's passkeys, oldest first."""
    return [_passkey(row) for row in await tx.rows(select(t).where(t.c.recipient_id == recipient_id).order_by(t.c.id))]


_HAS = Hot(lambda insert: select(t.c.id).where(t.c.recipient_id == bindparam("recipient_id")).limit(1))


async def has(db: Database, recipient_id: RecipientId) -> bool:
    """Whether a person has a passkey: asked beside each message."""
    return await db.row(_HAS, recipient_id=recipient_id) is not None


async def count(tx: ReadTx, recipient_id: RecipientId) -> int:
    row = await tx.row(select(func.count()).select_from(t).where(t.c.recipient_id == recipient_id))
    return int(row[0]) if row else 0


async def add(tx: WriteTx[PasskeyAdded], passkey: Passkey) -> None:
    """Raises Duplicate (at the end of the transaction's statement) when the credential is bound already."""
    await tx.change(insert(t).values({**vars(passkey), "vouched": int(passkey.vouched)}))


async def rename(tx: WriteTx[PasskeyRenamed], passkey: Passkey, epoch_id: EpochId, name_sealed: bytes) -> None:
    await tx.change(update(t).where(t.c.id == passkey.id).values(epoch_id=epoch_id, name_sealed=name_sealed))


async def remove(tx: WriteTx[PasskeyRemoved], passkey: Passkey) -> bool:
    """Removes one, unless it is the last: the others are locked and counted in the same transaction."""
    rows = await tx.rows(select(t.c.id).where(t.c.recipient_id == passkey.recipient_id).with_for_update())
    if len(rows) < 2:
        return False
    return await tx.change(delete(t).where(t.c.id == passkey.id)) == 1


async def remove_all(tx: WriteTx[RecoveryApplied], recipient_id: RecipientId) -> None:
    await tx.change(delete(t).where(t.c.recipient_id == recipient_id))


async def used(tx: WriteTx[SignedIn | SteppedUp], passkey: Passkey, sign_count: int, *, backed_up: bool) -> bool:
    """Keeps the counter and the backup state; says whether the passkey is there still."""
    values = {"used_at": tx.event.at, "sign_count": sign_count, "backed_up": backed_up}
    return await tx.change(update(t).where(t.c.id == passkey.id).values(values)) == 1


async def vouch(tx: WriteTx[SteppedUp], passkey_id: PasskeyId) -> None:
    await tx.change(update(t).where(t.c.id == passkey_id).values(vouched=int(Assurance.TWO_CHANNELS)))


async def suspect(tx: WriteTx[PasskeySuspected], passkey_id: PasskeyId) -> None:
    """What may have been copied is worth the mailbox only, until it is used beside a second channel again."""
    await tx.change(
        update(t).where(t.c.id == passkey_id).values(suspect_at=tx.event.at, vouched=int(Assurance.MAILBOX))
    )


# -- challenges: each is used once, by the browser and for the purpose it was made for


@dataclass(frozen=True)
class Ceremony:
    """A challenge that waits for its answer. `recipient_id` is None where anybody may sign in."""

    challenge: bytes
    purpose: str
    bound_hash: bytes
    org_id: OrgId | None
    recipient_id: RecipientId | None
    made_at: datetime


async def begin(tx: BookkeepingTx, ceremony: Ceremony) -> None:
    await tx.change(insert(ceremonies).values(vars(ceremony)))


async def take(tx: BookkeepingTx, challenge: bytes, purpose: str, bound_hash: bytes) -> Ceremony | None:
    """The ceremony of this challenge, which is gone from now on: of two answers at once, one finds it."""
    mine = (
        ceremonies.c.challenge == challenge,
        ceremonies.c.purpose == purpose,
        ceremonies.c.bound_hash == bound_hash,
    )
    row = await tx.row(select(ceremonies).where(*mine))
    if row is None or await tx.change(delete(ceremonies).where(*mine)) != 1:
        return None
    return Ceremony(**row._mapping)


async def forget_old(tx: BookkeepingTx, now: datetime, life: timedelta) -> int:
    return await tx.change(delete(ceremonies).where(ceremonies.c.made_at < now - life))
