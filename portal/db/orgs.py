"""Organisations, their domains, relays and policies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, func, insert, or_, select, update

from portal.db.engine import Database
from portal.db.hot import Hot, Statement
from portal.db.tables import (
    domain_claims,
    messages,
    micros,
    org_domains,
    organisations,
    policies,
    policy_rules,
    relay_credentials,
    relay_domains,
    relays,
)
from portal.db.tx import ReadTx, WriteTx
from portal.model.assurance import Assurance
from portal.model.events import (
    DomainAdded,
    DomainClaimed,
    DomainRemoved,
    KekRotated,
    OrganisationAdded,
    OrganisationChanged,
    PolicyRuleRemoved,
    PolicyRuleSet,
    PolicySet,
    RelayAdded,
    RelayCredentialAdded,
    RelayCredentialDisabled,
    RelayDisabled,
    RelayDomainsSet,
)
from portal.model.ids import CredentialId, EpochId, KekId, MessageId, OrgId, PolicyId, RelayId
from portal.model.policy import Policy, Scan
from portal.model.routes import Level, Mode


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
    host: str | None = None
    """Its own host name for patients: links in its notices lead there."""
    look: str | None = None
    """Names the look in addresses, anew at each change: `c...` has a colour, `l...` a logo, `b...` both."""
    accent: str | None = None
    logo: bytes | None = field(default=None, repr=False)
    notice_words: str | None = None
    device_bound: bool = False
    tls_level: Level = Level.ENCRYPT
    """What TLS to recipients' mail hosts must be, for their mail not to come here."""
    portal_after_hours: int | None = None
    """After how long what a relay keeps bringing is taken, whatever its recipients' hosts can do; None for never."""
    contact: str | None = None
    """Where new messages of its recipients go, in one of its sender domains; None takes none."""


@dataclass(frozen=True)
class RelayRow:
    """A relay of an organisation."""

    id: RelayId
    org_id: OrgId
    name: str
    added_at: datetime
    disabled_at: datetime | None = None
    mode: Mode = Mode.TRUST


@dataclass(frozen=True)
class CredentialRow:
    """What a relay logs in with: a user name and a password, or a client certificate. Secrets only as hashes."""

    id: CredentialId
    org_id: OrgId
    relay_id: RelayId
    username: str | None
    secret_hash: bytes | None
    fingerprint: str | None
    added_at: datetime
    used_at: datetime | None = None
    used_from: str | None = None
    disabled_at: datetime | None = None


def _organisation(row: Row[Any]) -> Organisation:
    values = {column.name: getattr(row, column.name) for column in organisations.columns}
    return Organisation(**{**values, "tls_level": Level(row.tls_level)})


async def by_slug(tx: ReadTx, slug: str) -> Organisation | None:
    row = await tx.row(select(organisations).where(organisations.c.slug == slug))
    return _organisation(row) if row else None


async def by_id(tx: ReadTx, org_id: OrgId) -> Organisation | None:
    row = await tx.row(select(organisations).where(organisations.c.id == org_id))
    return _organisation(row) if row else None


async def every(tx: ReadTx) -> list[Organisation]:
    return [_organisation(row) for row in await tx.rows(select(organisations).order_by(organisations.c.slug))]


async def add(tx: WriteTx[OrganisationAdded], organisation: Organisation) -> None:
    await tx.change(insert(organisations).values({**vars(organisation), "tls_level": organisation.tls_level.value}))


_LOOK = Hot(
    lambda insert: select(organisations.c.accent, organisations.c.logo).where(organisations.c.look == bindparam("look"))
)


_HOSTS = Hot(lambda insert: select(organisations.c.host).where(organisations.c.host.is_not(None)))


async def hosts(db: Database) -> list[str]:
    """The host names of organisations that have one of their own."""
    return sorted(str(row[0]) for row in await db.rows(_HOSTS))


async def look(db: Database, name: str) -> tuple[str | None, bytes | None] | None:
    """Accent and logo of a look; None when there is none of this name (any more)."""
    row = await db.row(_LOOK, look=name)
    return (row[0], row[1]) if row else None


async def present(tx: WriteTx[OrganisationChanged], org_id: OrgId, values: Mapping[str, object]) -> None:
    await tx.change(update(organisations).where(organisations.c.id == org_id).values(values))


async def turn_to_kek(tx: WriteTx[KekRotated], org_id: OrgId, kek_id: KekId) -> None:
    await tx.change(update(organisations).where(organisations.c.id == org_id).values(kek_id=kek_id))


async def add_domain(tx: WriteTx[DomainAdded], org_id: OrgId, domain: str) -> None:
    """Raises Duplicate when it is some organisation's already."""
    await tx.change(delete(domain_claims).where(domain_claims.c.org_id == org_id, domain_claims.c.domain == domain))
    values = {"domain": domain, "org_id": org_id, "proof": tx.event.proof, "added_at": tx.event.at}
    await tx.change(insert(org_domains).values(values))


async def remove_domain(tx: WriteTx[DomainRemoved], org_id: OrgId, domain: str) -> bool:
    await tx.change(delete(relay_domains).where(relay_domains.c.org_id == org_id, relay_domains.c.domain == domain))
    its = (org_domains.c.org_id == org_id, org_domains.c.domain == domain)
    return await tx.change(delete(org_domains).where(*its)) == 1


@dataclass(frozen=True)
class Claim:
    """A domain that an organisation says is its own; `token` is what the TXT record must say."""

    org_id: OrgId
    domain: str
    token: str
    made_at: datetime


async def claim_domain(tx: WriteTx[DomainClaimed], claim: Claim) -> None:
    """Raises Duplicate when the organisation claims it already."""
    await tx.change(insert(domain_claims).values(vars(claim)))


async def claims(tx: ReadTx, org_id: OrgId) -> list[Claim]:
    rows = await tx.rows(select(domain_claims).where(domain_claims.c.org_id == org_id).order_by(domain_claims.c.domain))
    return [Claim(**row._mapping) for row in rows]


@dataclass(frozen=True)
class Domain:
    """A sender domain, and how it was proved: `operator` or `dns`."""

    domain: str
    proof: str
    added_at: datetime


async def domains_of(tx: ReadTx, org_id: OrgId) -> list[Domain]:
    rows = await tx.rows(select(org_domains).where(org_domains.c.org_id == org_id).order_by(org_domains.c.domain))
    return [Domain(row.domain, row.proof, row.added_at) for row in rows]


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


_RELAYS_DOMAIN = Hot(
    lambda insert: select(relays.c.id).where(
        relays.c.id == bindparam("relay"),
        or_(
            ~exists().where(relay_domains.c.relay_id == relays.c.id),
            exists().where(relay_domains.c.relay_id == relays.c.id, relay_domains.c.domain == bindparam("domain")),
        ),
    )
)


async def relay_may_send_for(db: Database, relay_id: RelayId, domain: str) -> bool:
    """Whether a relay may hand over mail of this sender domain of its organisation."""
    return await db.row(_RELAYS_DOMAIN, relay=relay_id, domain=domain) is not None


async def language_of_message(tx: ReadTx, message_id: MessageId) -> str:
    """The language of its notices: its class's, else the organisation's."""
    statement = (
        select(func.coalesce(policies.c.notice_language, organisations.c.language))
        .select_from(messages)
        .join(policies, policies.c.id == messages.c.policy_id)
        .join(organisations, organisations.c.id == messages.c.org_id)
    )
    row = await tx.row(statement.where(messages.c.id == message_id))
    return str(row[0]) if row else "en"


async def unverified_notice(tx: ReadTx, message_id: MessageId) -> bool:
    """Whether a notice of this message may go over hops whose TLS nobody verified."""
    statement = select(policies.c.unverified_notice).join(messages, messages.c.policy_id == policies.c.id)
    row = await tx.row(statement.where(messages.c.id == message_id))
    return row is None or bool(row[0])


async def scan_of_message(tx: ReadTx, message_id: MessageId) -> Scan:
    """What the class of this message asks of the virus scanner."""
    statement = select(policies.c.scan).join(messages, messages.c.policy_id == policies.c.id)
    row = await tx.row(statement.where(messages.c.id == message_id))
    return Scan(row[0]) if row else Scan.REQUIRED


async def reply_all_of_message(tx: ReadTx, message_id: MessageId) -> bool:
    """Whether the class that this message came under lets more than its sender be answered."""
    statement = select(policies.c.reply_all).join(messages, messages.c.policy_id == policies.c.id)
    row = await tx.row(statement.where(messages.c.id == message_id))
    return row is not None and bool(row[0])


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
            policies.c.warn_days,
            policies.c.notice_language,
            policies.c.unverified_notice,
            policies.c.scan,
            policies.c.previews,
            policies.c.receipts,
            policies.c.reply_all,
            policies.c.graduate,
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
    language, id_, org, name, version, life, reminder, retention, reply, assurance, warn, spoken, *rest = row
    policy = Policy(
        id=PolicyId(id_),
        org_id=OrgId(org),
        name=name,
        version=version,
        life_days=life,
        reminder_days=reminder,
        retention_days=retention,
        reply_allowed=bool(reply),
        assurance=Assurance(assurance),
        warn_days=warn,
        notice_language=spoken,
        unverified_notice=bool(rest[0]),
        scan=Scan(rest[1]),
        previews=bool(rest[2]),
        receipts=bool(rest[3]),
        reply_all=bool(rest[4]),
        graduate=bool(rest[5]),
    )
    return policy, spoken or str(language)


def _policy(row: Row[Any]) -> Policy:
    values = {name: getattr(row, name) for name in Policy.__dataclass_fields__}
    return Policy(**{**values, "assurance": Assurance(row.assurance), "scan": Scan(row.scan)})


async def policies_in_force(tx: ReadTx, org_id: OrgId) -> list[Policy]:
    """The newest version of each policy class, by name."""
    statement = select(policies).where(policies.c.org_id == org_id).order_by(policies.c.name, policies.c.version)
    return list({row.name: _policy(row) for row in await tx.rows(statement)}.values())


async def versions(tx: ReadTx, org_id: OrgId, name: str) -> list[tuple[Policy, datetime]]:
    """Every version of a class with the moment it came into force, newest first."""
    its = (policies.c.org_id == org_id, policies.c.name == name)
    rows = await tx.rows(select(policies).where(*its).order_by(policies.c.version.desc()))
    return [(_policy(row), row.set_at) for row in rows]


async def set_policy(tx: WriteTx[PolicySet], policy: Policy) -> None:
    values = {**vars(policy), "assurance": int(policy.assurance), "scan": policy.scan.value, "set_at": tx.event.at}
    await tx.change(insert(policies).values(values))


async def latest_version(tx: ReadTx, org_id: OrgId, name: str) -> int:
    latest = select(func.max(policies.c.version)).where(policies.c.org_id == org_id, policies.c.name == name)
    row = await tx.row(latest)
    return int(row[0] or 0) if row else 0


# -- which class a mail comes under, where its header does not say


@dataclass(frozen=True)
class Rule:
    """Mail of a `sender`, of a sender's `domain`, or with a `tag` in its subject comes under a class. The value is sealed."""

    org_id: OrgId
    value_hash: bytes
    kind: str
    value_sealed: bytes
    epoch_id: EpochId
    policy_name: str
    set_at: datetime


_RULES = Hot(
    lambda insert: select(policy_rules.c.kind, policy_rules.c.policy_name).where(
        policy_rules.c.org_id == bindparam("org_id"),
        policy_rules.c.value_hash.in_([bindparam(name) for name in ("tag", "sender", "domain")]),
    )
)


async def class_by_rule(
    db: Database, org_id: OrgId, tag: bytes, sender: bytes, domain: bytes
) -> tuple[str, str] | None:
    """The rule's kind and the class it names: a tag in the subject comes first, then the sender, then the sender's domain."""
    found = dict(await db.rows(_RULES, org_id=org_id, tag=tag, sender=sender, domain=domain))
    return next(((kind, found[kind]) for kind in ("tag", "sender", "domain") if kind in found), None)


async def set_rule(tx: WriteTx[PolicyRuleSet], rule: Rule) -> None:
    """In the place of any other rule of the same value."""
    its = (policy_rules.c.org_id == rule.org_id, policy_rules.c.value_hash == rule.value_hash)
    await tx.change(delete(policy_rules).where(*its))
    await tx.change(insert(policy_rules).values(vars(rule)))


async def remove_rule(tx: WriteTx[PolicyRuleRemoved], org_id: OrgId, value_hash: bytes) -> bool:
    its = (policy_rules.c.org_id == org_id, policy_rules.c.value_hash == value_hash)
    return await tx.change(delete(policy_rules).where(*its)) == 1


async def rules(tx: ReadTx, org_id: OrgId) -> list[Rule]:
    statement = select(policy_rules).where(policy_rules.c.org_id == org_id).order_by(policy_rules.c.set_at)
    return [Rule(**row._mapping) for row in await tx.rows(statement)]


# -- relays

_RELAY_COLUMNS = (
    relays.c.id,
    relays.c.org_id,
    relays.c.name,
    relay_credentials.c.secret_hash,
    relay_credentials.c.id,
    relays.c.mode,
)
_IN_USE = (relays.c.disabled_at.is_(None), relay_credentials.c.disabled_at.is_(None))
_KNOWN = select(*_RELAY_COLUMNS).join(relays, relays.c.id == relay_credentials.c.relay_id).where(*_IN_USE)
_BY_USERNAME = Hot(lambda insert: _KNOWN.where(relay_credentials.c.username == bindparam("username")))
_BY_FINGERPRINT = Hot(lambda insert: _KNOWN.where(relay_credentials.c.fingerprint == bindparam("fingerprint")))
_USED = Hot(
    lambda insert: (
        update(relay_credentials)
        .where(relay_credentials.c.id == bindparam("credential"))
        .values(
            used_at=bindparam("at", type_=relay_credentials.c.used_at.type),
            used_from=bindparam("origin", type_=relay_credentials.c.used_from.type),
        )
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
    credential: CredentialId
    mode: str


_ENABLED = Hot(
    lambda insert: (
        select(relays.c.id)
        .join(relay_credentials, relay_credentials.c.relay_id == relays.c.id)
        .where(relay_credentials.c.id == bindparam("credential"), *_IN_USE)
    )
)


async def credential_enabled(db: Database, credential: str) -> bool:
    return await db.row(_ENABLED, credential=credential) is not None


async def relay_by_username(db: Database, username: str) -> KnownRelay | None:
    row = await db.row(_BY_USERNAME, username=username)
    return KnownRelay(*row) if row else None


async def relay_by_fingerprint(db: Database, fingerprint: str) -> KnownRelay | None:
    row = await db.row(_BY_FINGERPRINT, fingerprint=fingerprint)
    return KnownRelay(*row) if row else None


def credential_used(credential: CredentialId, origin: str, at: datetime) -> Statement:
    return Statement(_USED, {"credential": credential, "origin": origin[:64], "at": micros(at)})


async def add_relay(tx: WriteTx[RelayAdded], relay: RelayRow, credential: CredentialRow) -> None:
    await tx.change(insert(relays).values({**vars(relay), "mode": relay.mode.value}))
    await tx.change(insert(relay_credentials).values(vars(credential)))


async def add_credential(tx: WriteTx[RelayCredentialAdded], credential: CredentialRow) -> int:
    """Adds one, and says how many of the relay are valid now. The relay's row is locked meanwhile."""
    await tx.row(select(relays.c.id).where(relays.c.id == credential.relay_id).with_for_update())
    await tx.change(insert(relay_credentials).values(vars(credential)))
    its = (relay_credentials.c.relay_id == credential.relay_id, relay_credentials.c.disabled_at.is_(None))
    row = await tx.row(select(func.count()).select_from(relay_credentials).where(*its))
    return int(row[0]) if row else 0


async def disable_credential(tx: WriteTx[RelayCredentialDisabled], credential: CredentialRow) -> bool:
    enabled = (relay_credentials.c.id == credential.id, relay_credentials.c.disabled_at.is_(None))
    return await tx.change(update(relay_credentials).where(*enabled).values(disabled_at=tx.event.at)) == 1


async def disable_relay(tx: WriteTx[RelayDisabled], relay_id: RelayId) -> bool:
    enabled = (relays.c.id == relay_id, relays.c.disabled_at.is_(None))
    return await tx.change(update(relays).where(*enabled).values(disabled_at=tx.event.at)) == 1


async def set_relay_domains(
    tx: WriteTx[RelayDomainsSet], org_id: OrgId, relay_id: RelayId, names: Sequence[str]
) -> None:
    await tx.change(delete(relay_domains).where(relay_domains.c.relay_id == relay_id))
    for name in names:
        await tx.change(insert(relay_domains).values(relay_id=relay_id, domain=name, org_id=org_id))


async def relays_of(tx: ReadTx, org_id: OrgId) -> list[RelayRow]:
    rows = await tx.rows(select(relays).where(relays.c.org_id == org_id).order_by(relays.c.id))
    return [RelayRow(**{**row._mapping, "mode": Mode(row.mode)}) for row in rows]


async def credentials_of(tx: ReadTx, org_id: OrgId) -> list[CredentialRow]:
    """Every credential of an organisation's relays, oldest first."""
    statement = select(relay_credentials).where(relay_credentials.c.org_id == org_id).order_by(relay_credentials.c.id)
    return [CredentialRow(**row._mapping) for row in await tx.rows(statement)]


async def domains_of_relays(tx: ReadTx, org_id: OrgId) -> dict[RelayId, list[str]]:
    """The sender domains that relays are bound to; a relay that is not here may use all."""
    found: dict[RelayId, list[str]] = {}
    statement = select(relay_domains).where(relay_domains.c.org_id == org_id).order_by(relay_domains.c.domain)
    for row in await tx.rows(statement):
        found.setdefault(RelayId(row.relay_id), []).append(row.domain)
    return found
