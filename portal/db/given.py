"""What the sender's side gives a recipient to sign in with: an access code for a delivery, a phone number for a person."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, literal, select

from portal.db.engine import Database
from portal.db.hot import Hot, Insert, Statement
from portal.db.tables import access_codes, authenticators, micros, passkeys, phones
from portal.db.tx import ReadTx, WriteTx
from portal.model.assurance import Assurance, Method, Proof
from portal.model.events import AccessCodeSet, PhoneSet
from portal.model.ids import DeliveryId, EpochId, OrgId, RecipientId


@dataclass(frozen=True)
class AccessCode:
    """A delivery's access code as an argon2id hash; the hint is sealed."""

    delivery_id: DeliveryId
    org_id: OrgId
    code_hash: str
    hint_sealed: bytes | None
    epoch_id: EpochId | None


@dataclass(frozen=True)
class Phone:
    """A person's number, sealed as the field `phone` of her row."""

    recipient_id: RecipientId
    org_id: OrgId
    number_sealed: bytes
    epoch_id: EpochId


def _upsert(table: Any, key: str) -> Any:
    def build(insert: Insert) -> Any:
        new = insert(table).values({column: bindparam(column.name, type_=column.type) for column in table.columns})
        again = {column.name: new.excluded[column.name] for column in table.columns if column.name != key}
        return new.on_conflict_do_update(index_elements=[table.c[key]], set_=again)

    return build


_ADD_ACCESS = Hot(_upsert(access_codes, "delivery_id"), returns_rows=False)
_ADD_PHONE = Hot(_upsert(phones, "recipient_id"), returns_rows=False)


def add_access_code(code: AccessCode, at: datetime) -> Statement:
    """For the commit of a message."""
    return Statement(_ADD_ACCESS, {**vars(code), "set_at": micros(at)})


def add_phone(phone: Phone, at: datetime) -> Statement:
    """For the commit of a message; the newest number wins."""
    return Statement(_ADD_PHONE, {**vars(phone), "set_at": micros(at)})


async def set_access_code(tx: WriteTx[AccessCodeSet], code: AccessCode) -> None:
    values = {**vars(code), "set_at": tx.event.at}
    new = tx.insert(access_codes).values(values)
    await tx.change(new.on_conflict_do_update(index_elements=[access_codes.c.delivery_id], set_=values))


async def set_phone(tx: WriteTx[PhoneSet], phone: Phone) -> None:
    values = {**vars(phone), "set_at": tx.event.at}
    new = tx.insert(phones).values(values)
    await tx.change(new.on_conflict_do_update(index_elements=[phones.c.recipient_id], set_=values))


async def access_code(tx: ReadTx, delivery_id: DeliveryId) -> AccessCode | None:
    row = await tx.row(select(access_codes).where(access_codes.c.delivery_id == delivery_id))
    return AccessCode(row.delivery_id, row.org_id, row.code_hash, row.hint_sealed, row.epoch_id) if row else None


async def phone(tx: ReadTx, recipient_id: RecipientId) -> Phone | None:
    row = await tx.row(select(phones).where(phones.c.recipient_id == recipient_id))
    return Phone(row.recipient_id, row.org_id, row.number_sealed, row.epoch_id) if row else None


_WAYS = Hot(
    lambda insert: (
        select(literal("passkey"), passkeys.c.vouched)
        .where(passkeys.c.recipient_id == bindparam("recipient_id"))
        .union_all(
            select(literal("app"), authenticators.c.vouched).where(
                authenticators.c.recipient_id == bindparam("recipient_id"), authenticators.c.confirmed_at.is_not(None)
            ),
            select(literal("sms"), literal(2))
            .select_from(phones)
            .where(phones.c.recipient_id == bindparam("recipient_id")),
        )
    )
)


async def ways(db: Database, recipient_id: RecipientId) -> list[Proof]:
    """What a person has to get in with beside the mailbox and codes on paper. A phone counts as SMS."""
    rows = await db.rows(_WAYS, recipient_id=recipient_id)
    return [Proof(Method(method), Assurance(level)) for method, level in rows]
