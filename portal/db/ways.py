"""Ways in beside mailbox and passkey that a person has herself: the authenticator app and the recovery codes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from portal.db.tables import authenticators as apps
from portal.db.tables import recovery_codes
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import AppAdded, AppRemoved, RecoveryApplied, RecoveryCodesMade, SignedIn, SteppedUp
from portal.model.ids import EpochId, OrgId, RecipientId


@dataclass(frozen=True)
class App:
    """An authenticator app; its secret is sealed. `last_step` is the newest time step (RFC 6238) that was used."""

    recipient_id: RecipientId
    org_id: OrgId
    secret_sealed: bytes
    epoch_id: EpochId
    vouched: Assurance
    made_at: datetime
    confirmed_at: datetime | None = None
    last_step: int | None = None


async def app(tx: ReadTx, recipient_id: RecipientId) -> App | None:
    row = await tx.row(select(apps).where(apps.c.recipient_id == recipient_id))
    if row is None:
        return None
    values = {name: getattr(row, name) for name in App.__dataclass_fields__}
    return App(**{**values, "vouched": Assurance(row.vouched)})


async def begin_app(tx: BookkeepingTx, app: App) -> bool:
    """Keeps a secret that is not confirmed yet, in the place of another such; a confirmed one stays, and the answer is no."""
    unconfirmed = (apps.c.recipient_id == app.recipient_id, apps.c.confirmed_at.is_(None))
    await tx.change(delete(apps).where(*unconfirmed))
    new = tx.insert(apps).values({**vars(app), "vouched": int(app.vouched)})
    return await tx.change(new.on_conflict_do_nothing(index_elements=[apps.c.recipient_id])) == 1


async def confirm_app(tx: WriteTx[AppAdded], app: App, step: int) -> bool:
    """Says whether this very secret was waiting for it."""
    waiting = (apps.c.recipient_id == app.recipient_id, apps.c.made_at == app.made_at, apps.c.confirmed_at.is_(None))
    values = {"confirmed_at": tx.event.at, "last_step": step}
    return await tx.change(update(apps).where(*waiting).values(values)) == 1


async def use_step(tx: WriteTx[SignedIn | SteppedUp], recipient_id: RecipientId, step: int) -> bool:
    """Uses a time step up; says whether it and all after it were unused (RFC 6238 5.2: once only)."""
    unused = (apps.c.recipient_id == recipient_id, (apps.c.last_step.is_(None)) | (apps.c.last_step < step))
    return await tx.change(update(apps).where(*unused).values(last_step=step)) == 1


async def vouch_app(tx: WriteTx[SteppedUp], recipient_id: RecipientId) -> None:
    await tx.change(update(apps).where(apps.c.recipient_id == recipient_id).values(vouched=int(Assurance.TWO_CHANNELS)))


async def remove_app(tx: WriteTx[AppRemoved | RecoveryApplied], recipient_id: RecipientId) -> bool:
    return await tx.change(delete(apps).where(apps.c.recipient_id == recipient_id)) == 1


# -- recovery codes


@dataclass(frozen=True)
class RecoveryCode:
    """One of a person's ten; `slot` is its first sign, so that one hash is compared and not ten."""

    slot: int
    code_hash: str
    vouched: Assurance


async def replace_codes(
    tx: WriteTx[RecoveryCodesMade], org_id: OrgId, recipient_id: RecipientId, made: list[RecoveryCode]
) -> None:
    await tx.change(delete(recovery_codes).where(recovery_codes.c.recipient_id == recipient_id))
    rows = [
        {
            "recipient_id": recipient_id,
            "slot": one.slot,
            "org_id": org_id,
            "code_hash": one.code_hash,
            "vouched": int(one.vouched),
            "made_at": tx.event.at,
        }
        for one in made
    ]
    await tx.change(insert(recovery_codes), rows)


async def recovery_code(tx: ReadTx, recipient_id: RecipientId, slot: int) -> RecoveryCode | None:
    """The unused code of a slot."""
    its = (recovery_codes.c.recipient_id == recipient_id, recovery_codes.c.slot == slot)
    row = await tx.row(select(recovery_codes).where(*its, recovery_codes.c.used_at.is_(None)))
    return RecoveryCode(row.slot, row.code_hash, Assurance(row.vouched)) if row else None


async def codes_left(tx: ReadTx, recipient_id: RecipientId) -> int:
    mine = (recovery_codes.c.recipient_id == recipient_id, recovery_codes.c.used_at.is_(None))
    row = await tx.row(select(func.count()).select_from(recovery_codes).where(*mine))
    return int(row[0]) if row else 0


async def use_code(tx: WriteTx[SignedIn | SteppedUp], recipient_id: RecipientId, slot: int) -> bool:
    """Says whether it had not been used before."""
    its = (recovery_codes.c.recipient_id == recipient_id, recovery_codes.c.slot == slot)
    unused = update(recovery_codes).where(*its, recovery_codes.c.used_at.is_(None))
    return await tx.change(unused.values(used_at=tx.event.at)) == 1


async def remove_codes(tx: WriteTx[RecoveryApplied], recipient_id: RecipientId) -> None:
    await tx.change(delete(recovery_codes).where(recovery_codes.c.recipient_id == recipient_id))
