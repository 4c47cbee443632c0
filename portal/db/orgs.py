"""Organisations, their domains, relays and policies."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import micros, org_domains, organisations, policies, relays
from portal.db.tx import ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import (
    DomainAdded,
    KekRotated,
    OrganisationAdded,
    OrganisationChanged,
    PolicySet,
    RelayAdded,
    RelayDisabled,
)
from portal.model.ids import KekId, OrgId, PolicyId, RelayId
from portal.model.policy import Policy


@dataclass(frozen=True)
class Organisation:
    """A clinic, and how it presents itself."""

    id: OrgId
    slug: str
    name: str
    address: str
    phone: str
    mail_from: str
    language: str
    kek_id: KekId
    added_at: datetime


@dataclass(frozen=True)
class RelayRow:
    """A relay's credential; secrets only as hashes."""

    id: RelayId
    org_id: OrgId
    name: str
    username: str | None
    secret_hash: bytes | None
    fingerprint: str | None
    added_at: datetime
    used_at: datetime | None = None
    disabled_at: datetime | None = None


def _organisation(row: Row[Any]) -> Organisation:
    return Organisation(**{column.name: getattr(row, column.name) for column in organisations.columns})


async def by_slug(tx: ReadTx, slug: str) -> Organisation | None:
    row = await tx.row(select(organisations).where(organisations.c.slug == slug))
    return _organisation(row) if row else None


async def by_id(tx: ReadTx, org_id: OrgId) -> Organisation | None:
    row = await tx.row(select(organisations).where(organisations.c.id == org_id))
    return _organisation(row) if row else None


async def every(tx: ReadTx) -> list[Organisation]:
    return [_organisation(row) for row in await tx.rows(select(organisations).order_by(organisations.c.slug))]


async def add(tx: WriteTx[OrganisationAdded], organisation: Organisation) -> None:
    await tx.change(insert(organisations).values(vars(organisation)))


async def present(tx: WriteTx[OrganisationChanged], org_id: OrgId, values: dict[str, str]) -> None:
    await tx.change(update(organisations).where(organisations.c.id == org_id).values(values))


async def turn_to_kek(tx: WriteTx[KekRotated], org_id: OrgId, kek_id: KekId) -> None:
    await tx.change(update(organisations).where(organisations.c.id == org_id).values(kek_id=kek_id))


async def add_domain(tx: WriteTx[DomainAdded], org_id: OrgId, domain: str) -> None:
    await tx.change(insert(org_domains).values(domain=domain, org_id=org_id, added_at=tx.event.at))


async def domains(tx: ReadTx, org_id: OrgId) -> list[str]:
    rows = await tx.rows(
        select(org_domains.c.domain).where(org_domains.c.org_id == org_id).order_by(org_domains.c.domain)
    )
    return [row.domain for row in rows]


_OWNER = Hot(
    lambda insert: (
        select(org_domains.c.org_id, organisations.c.mail_from)
        .join(organisations, organisations.c.id == org_domains.c.org_id)
        .where(org_domains.c.domain == bindparam("domain"))
    )
)


@dataclass(frozen=True)
class Owner:
    """Whose a sender domain is. `mail_from` is the address the portal itself writes from on its behalf."""

    org_id: OrgId
    mail_from: str


async def owner_of_domain(db: Database, domain: str) -> Owner | None:
    row = await db.row(_OWNER, domain=domain)
    return Owner(*row) if row else None


_LANGUAGE = Hot(lambda insert: select(organisations.c.language).where(organisations.c.id == bindparam("org_id")))


async def language(db: Database, org_id: OrgId) -> str:
    row = await db.row(_LANGUAGE, org_id=org_id)
    return str(row[0]) if row else "en"


# -- policies

_POLICY = Hot(
    lambda insert: (
        select(
            organisations.c.language,
            policies.c.id,
            policies.c.org_id,
            policies.c.name,
            policies.c.version,
            policies.c.life_days,
            policies.c.reminder_days,
            policies.c.retention_days,
            policies.c.reply_allowed,
            policies.c.assurance,
        )
        .join(organisations, organisations.c.id == policies.c.org_id)
        .where(policies.c.org_id == bindparam("org_id"), policies.c.name == bindparam("name"))
        .order_by(policies.c.version.desc())
        .limit(1)
    )
)


async def policy_in_force(db: Database, org_id: OrgId, name: str) -> tuple[Policy, str] | None:
    """The newest version of a policy class, and the language of the organisation."""
    row = await db.row(_POLICY, org_id=org_id, name=name)
    if row is None:
        return None
    language, id_, org, name, version, life, reminder, retention, reply, assurance = row
    times = (life, reminder, retention)
    return Policy(PolicyId(id_), OrgId(org), name, version, *times, bool(reply), Assurance(assurance)), str(language)


async def policies_in_force(tx: ReadTx, org_id: OrgId) -> list[Policy]:
    """The newest version of each policy class, by name."""
    statement = select(policies).where(policies.c.org_id == org_id).order_by(policies.c.name, policies.c.version)
    newest = {
        row.name: Policy(
            id=row.id,
            org_id=row.org_id,
            name=row.name,
            version=row.version,
            life_days=row.life_days,
            reminder_days=row.reminder_days,
            retention_days=row.retention_days,
            reply_allowed=row.reply_allowed,
            assurance=Assurance(row.assurance),
        )
        for row in await tx.rows(statement)
    }
    return list(newest.values())


async def set_policy(tx: WriteTx[PolicySet], policy: Policy) -> None:
    values = {**vars(policy), "assurance": int(policy.assurance), "set_at": tx.event.at}
    await tx.change(insert(policies).values(values))


async def latest_version(tx: ReadTx, org_id: OrgId, name: str) -> int:
    latest = select(func.max(policies.c.version)).where(policies.c.org_id == org_id, policies.c.name == name)
    row = await tx.row(latest)
    return int(row[0] or 0) if row else 0


# -- relays

_RELAY_COLUMNS = (relays.c.id, relays.c.org_id, relays.c.name, relays.c.secret_hash)
_BY_USERNAME = Hot(
    lambda insert: select(*_RELAY_COLUMNS).where(
        relays.c.username == bindparam("username"), relays.c.disabled_at.is_(None)
    )
)
_BY_FINGERPRINT = Hot(
    lambda insert: select(*_RELAY_COLUMNS).where(
        relays.c.fingerprint == bindparam("fingerprint"), relays.c.disabled_at.is_(None)
    )
)
_USED = Hot(
    lambda insert: (
        update(relays)
        .where(relays.c.id == bindparam("relay"))
        .values(used_at=bindparam("at", type_=relays.c.used_at.type))
    ),
    returns_rows=False,
)


@dataclass(frozen=True)
class KnownRelay:
    """A relay that may hand over mail; `secret_hash` is None for one that comes by certificate."""

    id: RelayId
    org_id: OrgId
    name: str
    secret_hash: bytes | None


_ENABLED = Hot(
    lambda insert: select(relays.c.id).where(relays.c.id == bindparam("relay"), relays.c.disabled_at.is_(None))
)


async def relay_enabled(db: Database, relay_id: RelayId) -> bool:
    return await db.row(_ENABLED, relay=relay_id) is not None


async def relay_by_username(db: Database, username: str) -> KnownRelay | None:
    row = await db.row(_BY_USERNAME, username=username)
    return KnownRelay(*row) if row else None


async def relay_by_fingerprint(db: Database, fingerprint: str) -> KnownRelay | None:
    row = await db.row(_BY_FINGERPRINT, fingerprint=fingerprint)
    return KnownRelay(*row) if row else None


def relay_used(relay_id: RelayId, at: datetime) -> Statement:
    return Statement(_USED, {"relay": relay_id, "at": micros(at)})


async def add_relay(tx: WriteTx[RelayAdded], relay: RelayRow) -> None:
    await tx.change(insert(relays).values(vars(relay)))


async def disable_relay(tx: WriteTx[RelayDisabled], relay_id: RelayId) -> bool:
    enabled = (relays.c.id == relay_id, relays.c.disabled_at.is_(None))
    return await tx.change(update(relays).where(*enabled).values(disabled_at=tx.event.at)) == 1


async def relays_of(tx: ReadTx, org_id: OrgId) -> list[RelayRow]:
    rows = await tx.rows(select(relays).where(relays.c.org_id == org_id).order_by(relays.c.id))
    return [RelayRow(**{column.name: getattr(row, column.name) for column in relays.columns}) for row in rows]
