"""Which way mail goes: what an organisation has set for recipients and their domains, and why each delivery came here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import micros, organisations, recipient_routes, relays, verdicts
from portal.db.tx import ReadTx, WriteTx
from portal.model.events import RecipientRouteRemoved, RecipientRouteSet, RelayModeSet, TransportSet
from portal.model.ids import DeliveryId, EpochId, OrgId, RelayId
from portal.model.routes import Level, Mode, Outcome, Route, Rule

# -- what is set


@dataclass(frozen=True)
class RouteRow:
    """An address's or a domain's way; `kind` is `address` or `domain`. The value is sealed."""

    org_id: OrgId
    value_hash: bytes
    kind: str
    route: Route
    value_sealed: bytes
    epoch_id: EpochId
    set_at: datetime


_SETTINGS = Hot(
    lambda insert: select(organisations.c.tls_level, organisations.c.portal_after_hours).where(
        organisations.c.id == bindparam("org_id")
    )
)
_LISTED = Hot(
    lambda insert: select(recipient_routes.c.kind, recipient_routes.c.route).where(
        recipient_routes.c.org_id == bindparam("org_id"),
        recipient_routes.c.value_hash.in_([bindparam("address"), bindparam("domain")]),
    )
)


async def transport_of(db: Database, org_id: OrgId) -> tuple[Level, int | None]:
    """An organisation's level, and after how many hours it takes what its relay keeps bringing; None for never."""
    row = await db.row(_SETTINGS, org_id=org_id)
    return (Level(row[0]), row[1]) if row else (Level.ENCRYPT, None)


async def listed(db: Database, org_id: OrgId, address: bytes, domain: bytes) -> Route | None:
    """The way that is set for an address, else for its domain, by their keyed hashes."""
    found = dict(await db.rows(_LISTED, org_id=org_id, address=address, domain=domain))
    route = found.get("address") or found.get("domain")
    return Route(route) if route else None


async def every(tx: ReadTx, org_id: OrgId) -> list[RouteRow]:
    statement = select(recipient_routes).where(recipient_routes.c.org_id == org_id).order_by(recipient_routes.c.set_at)
    return [RouteRow(**{**row._mapping, "route": Route(row.route)}) for row in await tx.rows(statement)]


async def set_route(tx: WriteTx[RecipientRouteSet], row: RouteRow) -> None:
    """In the place of any other way of the same value."""
    its = (recipient_routes.c.org_id == row.org_id, recipient_routes.c.value_hash == row.value_hash)
    await tx.change(delete(recipient_routes).where(*its))
    await tx.change(insert(recipient_routes).values({**vars(row), "route": row.route.value}))


async def remove_route(tx: WriteTx[RecipientRouteRemoved], org_id: OrgId, value_hash: bytes) -> bool:
    its = (recipient_routes.c.org_id == org_id, recipient_routes.c.value_hash == value_hash)
    return await tx.change(delete(recipient_routes).where(*its)) == 1


async def set_transport(tx: WriteTx[TransportSet], org_id: OrgId, level: Level, portal_after_hours: int | None) -> None:
    values = {"tls_level": level.value, "portal_after_hours": portal_after_hours}
    await tx.change(update(organisations).where(organisations.c.id == org_id).values(values))


async def set_mode(tx: WriteTx[RelayModeSet], relay_id: RelayId, mode: Mode) -> None:
    await tx.change(update(relays).where(relays.c.id == relay_id).values(mode=mode.value))


# -- why a delivery came


@dataclass(frozen=True)
class VerdictRow:
    """Why a delivery came here. The transcript names the recipient's hosts, so it is sealed; there is none where nobody looked."""

    delivery_id: DeliveryId
    org_id: OrgId
    rule: Rule
    outcome: Outcome | None
    transcript_sealed: bytes | None
    epoch_id: EpochId | None
    found_at: datetime


_ADD = Hot(
    lambda insert: insert(verdicts).values({c: bindparam(c.name, type_=c.type) for c in verdicts.columns}),
    returns_rows=False,
)


def add_verdict(row: VerdictRow) -> Statement:
    """For the commit of a message."""
    outcome = row.outcome.value if row.outcome else None
    return Statement(_ADD, {**vars(row), "rule": row.rule.value, "outcome": outcome, "found_at": micros(row.found_at)})


async def verdicts_of(tx: ReadTx, ids: Sequence[DeliveryId]) -> dict[DeliveryId, VerdictRow]:
    """Those of deliveries that have one: what a trusted relay brought has none."""
    rows = await tx.rows(select(verdicts).where(verdicts.c.delivery_id.in_(ids)))
    found = [
        VerdictRow(**{**row._mapping, "rule": Rule(row.rule), "outcome": Outcome(row.outcome) if row.outcome else None})
        for row in rows
    ]
    return {one.delivery_id: one for one in found}
