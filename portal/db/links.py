"""Links, the codes sent for them, and the counters that throttle both."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, insert, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import codes, instant, links, organisations, outbox, recipients
from portal.db.tables import deliveries as t
from portal.db.tx import BookkeepingTx, ReadTx, WriteTx
from portal.model.codes import Tries
from portal.model.events import CodeRequested, SignedIn, SteppedUp
from portal.model.ids import CodeId, DeliveryId, EpochId, MessageId, OrgId, RecipientId
from portal.model.message import DeliveryState

_ADD = Hot(
    lambda insert: insert(links).values(
        {column: bindparam(column.name, type_=column.type) for column in links.columns}
    ),
    returns_rows=False,
)


def add(token_hash: bytes, reference_hash: bytes, org_id: OrgId, delivery_id: DeliveryId, made_at: int) -> Statement:
    """`made_at` in microseconds."""
    values = {"token_hash": token_hash, "reference_hash": reference_hash, "org_id": org_id, "delivery_id": delivery_id}
    return Statement(_ADD, {**values, "made_at": made_at})


@dataclass(frozen=True)
class Named:
    """What a link names: enough to say who wrote and to send a code, nothing of the message."""

    org_id: OrgId
    message_id: MessageId
    delivery_id: DeliveryId
    recipient_id: RecipientId
    state: DeliveryState
    accepted_at: datetime
    expires_at: datetime
    epoch_id: EpochId
    address_sealed: bytes
    org_name: str
    org_address: str
    org_phone: str
    org_look: str | None
    org_host: str | None


def _named() -> Select[Any]:
    return (
        select(
            t.c.org_id,
            t.c.message_id,
            t.c.id,
            t.c.recipient_id,
            t.c.state,
            t.c.accepted_at,
            t.c.expires_at,
            recipients.c.epoch_id,
            recipients.c.address_sealed,
            organisations.c.name,
            organisations.c.address,
            organisations.c.phone,
            organisations.c.look,
            organisations.c.host,
        )
        .join(recipients, recipients.c.id == t.c.recipient_id)
        .join(organisations, organisations.c.id == t.c.org_id)
    )


def _by_link() -> Select[Any]:
    return _named().join(links, links.c.delivery_id == t.c.id)


_BY_TOKEN = Hot(lambda insert: _by_link().where(links.c.token_hash == bindparam("hash")))
_BY_REFERENCE = Hot(lambda insert: _by_link().where(links.c.reference_hash == bindparam("hash")))
_BY_DELIVERY = Hot(lambda insert: _named().where(t.c.id == bindparam("id")))


async def by_token(db: Database, token_hash: bytes) -> Named | None:
    return _as_named(await db.row(_BY_TOKEN, hash=token_hash))


async def by_reference(db: Database, reference_hash: bytes) -> Named | None:
    return _as_named(await db.row(_BY_REFERENCE, hash=reference_hash))


async def by_delivery(db: Database, delivery_id: DeliveryId) -> Named | None:
    return _as_named(await db.row(_BY_DELIVERY, id=delivery_id))


def _as_named(row: tuple[Any, ...] | None) -> Named | None:
    if row is None:
        return None
    org_id, message, delivery, recipient, state, accepted, expires, *rest = row
    return Named(org_id, message, delivery, recipient, DeliveryState(state), instant(accepted), instant(expires), *rest)


# -- codes


@dataclass(frozen=True)
class Code:
    """A code that was mailed, texted or spoken (`channel`), kept as a keyed hash.

    `copy_of` is another code's id where no new one was sent, and that one counts for one more browser.
    """

    id: CodeId
    org_id: OrgId
    delivery_id: DeliveryId
    channel: str
    browser_hash: bytes
    code_hash: bytes
    reference: str
    made_at: datetime
    expires_at: datetime
    tries: int = 0
    used_at: datetime | None = None
    copy_of: CodeId | None = None


async def made_since(tx: ReadTx, delivery_id: DeliveryId, channel: str, since: datetime) -> list[datetime]:
    """When codes of this channel were sent for a delivery, oldest first."""
    mine = (codes.c.delivery_id == delivery_id, codes.c.channel == channel, codes.c.made_at > since)
    sent = codes.c.copy_of.is_(None)
    return [row.made_at for row in await tx.rows(select(codes.c.made_at).where(*mine, sent).order_by(codes.c.made_at))]


async def add_code(tx: WriteTx[CodeRequested], code: Code) -> None:
    await tx.change(insert(codes).values(vars(code)))


async def usable(
    tx: ReadTx, delivery_id: DeliveryId, channels: Collection[str], browser_hash: bytes, now: datetime, max_tries: int
) -> list[Code]:
    """Codes that this browser asked for and may still use."""
    mine = (codes.c.delivery_id == delivery_id, codes.c.browser_hash == browser_hash, codes.c.channel.in_(channels))
    fresh = (codes.c.used_at.is_(None), codes.c.expires_at > now, codes.c.tries < max_tries)
    rows = await tx.rows(select(codes).where(*mine, *fresh).order_by(codes.c.made_at))
    return [Code(**{column.name: getattr(row, column.name) for column in codes.columns}) for row in rows]


async def newest_open(tx: ReadTx, delivery_id: DeliveryId, channel: str, now: datetime) -> Code | None:
    """The newest code that was sent and can still be used, whoever asked for it."""
    mine = (codes.c.delivery_id == delivery_id, codes.c.channel == channel, codes.c.copy_of.is_(None))
    fresh = (codes.c.used_at.is_(None), codes.c.expires_at > now)
    row = await tx.row(select(codes).where(*mine, *fresh).order_by(codes.c.made_at.desc()).limit(1))
    return Code(**{column.name: getattr(row, column.name) for column in codes.columns}) if row else None


async def count_try(tx: BookkeepingTx, found: list[Code]) -> None:
    await tx.change(update(codes).where(codes.c.id.in_([code.id for code in found])).values(tries=codes.c.tries + 1))


async def use(tx: WriteTx[SignedIn | SteppedUp], code: Code) -> bool:
    """Says whether the code had not been used before. With it go all its copies: they are one code."""
    same = (codes.c.delivery_id == code.delivery_id, codes.c.code_hash == code.code_hash)
    return await tx.change(update(codes).where(*same, codes.c.used_at.is_(None)).values(used_at=tx.event.at)) > 0


@dataclass(frozen=True)
class Mailed:
    """How the mail or text with a code fares."""

    reference: str
    channel: str
    made_at: datetime
    state: str
    attempts: int
    settled_at: datetime | None
    answer: str | None
    due_at: datetime


async def last_code(
    tx: ReadTx, delivery_id: DeliveryId, channels: Collection[str], browser_hash: bytes
) -> Mailed | None:
    mine = (codes.c.delivery_id == delivery_id, codes.c.browser_hash == browser_hash, codes.c.channel.in_(channels))
    wanted = (
        codes.c.reference,
        codes.c.channel,
        codes.c.made_at,
        outbox.c.state,
        outbox.c.attempts,
        outbox.c.settled_at,
        outbox.c.answer,
        outbox.c.due_at,
    )
    sent = outbox.c.subject_id == func.coalesce(codes.c.copy_of, codes.c.id)
    statement = select(*wanted).join(outbox, sent).where(*mine)
    row = await tx.row(statement.order_by(codes.c.made_at.desc()).limit(1))
    return Mailed(**row._mapping) if row else None


async def forget_old_codes(tx: BookkeepingTx, before: datetime) -> int:
    return await tx.change(delete(codes).where(codes.c.made_at < before))


# -- the door of a delivery: how many codes were tried on it


async def tries(tx: BookkeepingTx, delivery_id: DeliveryId, now: datetime) -> Tries:
    """The counters, locked until the transaction ends."""
    wanted = (t.c.tries, t.c.window_tries, t.c.window_from, t.c.closed_until, t.c.disabled_at)
    row = await tx.row(select(*wanted).where(t.c.id == delivery_id).with_for_update())
    if row is None or row.window_from is None:
        return Tries(0, 0, now)
    return Tries(row.tries, row.window_tries, row.window_from, row.closed_until, row.disabled_at)


async def keep_tries(tx: BookkeepingTx, delivery_id: DeliveryId, counted: Tries) -> None:
    values = {
        "tries": counted.in_all,
        "window_tries": counted.in_window,
        "window_from": counted.window_from,
        "closed_until": counted.closed_until,
        "disabled_at": counted.disabled_at,
    }
    await tx.change(update(t).where(t.c.id == delivery_id).values(values))


async def forget_tries(tx: WriteTx[SignedIn | SteppedUp], delivery_id: DeliveryId) -> None:
    """A success ends the run of failed tries (63B 3.2.2 counts consecutive ones)."""
    values = {"tries": 0, "window_tries": 0, "closed_until": None}
    await tx.change(update(t).where(t.c.id == delivery_id).values(values))
