"""Sets organisations up: who they are, which domains send, which relays hand over, and under which policy."""

import hashlib
import re
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace

from portal.clock import Source
from portal.db import orgs
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Organisation, RelayRow
from portal.model.errors import InputRefused
from portal.model.events import (
    DomainAdded,
    KekRotated,
    OrganisationAdded,
    OrganisationChanged,
    PolicySet,
    RelayAdded,
    RelayDisabled,
    Who,
)
from portal.model.ids import KekId, OrgId, PolicyId, RelayId
from portal.model.links import keyed_hash
from portal.model.parties import address, domain_name
from portal.model.policy import DEFAULT_CLASS, Policy

_SLUG = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Credential:
    """What a relay logs in with; the password is shown once and kept only as a keyed hash."""

    relay: RelayRow
    password: str | None


class Setup:
    """See the module. `actor` is the operator's name, for the record."""

    def __init__(self, db: Database, source: Source, actor: str) -> None:
        self._db, self._source, self._actor = db, source, actor

    async def organisation(self, slug: str) -> Organisation:
        """Raises InputRefused when there is none of that name."""
        async with self._db.read() as tx:
            found = await orgs.by_slug(tx, slug)
        if found is None:
            raise InputRefused(f"There is no organisation {slug}; `portal org list` names them.")
        return found

    async def rotate(self, org: Organisation, make_key: Callable[[OrgId], KekId]) -> KekId:
        """Turns new epochs to a new KEK."""
        new = make_key(org.id)
        event = KekRotated(
            at=self._source.now(), who=Who.OPERATOR, actor=self._actor, org_id=org.id, old=org.kek_id, new=new
        )
        async with self._db.write(event) as tx:
            await orgs.turn_to_kek(tx, org.id, new)
        return new

    async def add(self, organisation: Organisation) -> None:
        """Adds an organisation with the default policy. Raises InputRefused."""
        now = self._source.now()
        event = OrganisationAdded(
            at=now,
            who=Who.OPERATOR,
            actor=self._actor,
            org_id=organisation.id,
            slug=organisation.slug,
            kek_id=organisation.kek_id,
        )
        try:
            async with self._db.write(event) as tx:
                await orgs.add(tx, organisation)
        except Duplicate:
            raise InputRefused(f"There is an organisation {organisation.slug} already.") from None
        await self.set_policy(organisation.id, Policy(PolicyId(""), organisation.id, DEFAULT_CLASS, 0))

    async def present(self, org: Organisation, values: dict[str, str]) -> None:
        """Changes how an organisation presents itself: name, address, phone, language, mail_from."""
        if "mail_from" in values:
            check_mail_from(values["mail_from"])
        changed = tuple(sorted(values))
        event = OrganisationChanged(
            at=self._source.now(), who=Who.OPERATOR, actor=self._actor, org_id=org.id, changed=changed
        )
        async with self._db.write(event) as tx:
            await orgs.present(tx, org.id, values)

    async def add_domain(self, org: Organisation, domain: str) -> str:
        """Lets senders of a domain use the portal. Raises InputRefused."""
        try:
            name = domain_name(domain)
        except ValueError:
            raise InputRefused(f"{domain} is not a domain name.") from None
        event = DomainAdded(at=self._source.now(), who=Who.OPERATOR, actor=self._actor, org_id=org.id, domain=name)
        try:
            async with self._db.write(event) as tx:
                await orgs.add_domain(tx, org.id, name)
        except Duplicate:
            raise InputRefused(f"{name} is an organisation's domain already.") from None
        return name

    async def add_relay(
        self, org: Organisation, name: str, fingerprint: str | None, credentials_key: bytes
    ) -> Credential:
        """Makes a relay's credential: a password shown once, or a client certificate's fingerprint. Raises InputRefused."""
        relay_id = RelayId(self._source.new_id())
        password = username = None
        if fingerprint is None:
            username, password = f"{org.slug}-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
        else:
            fingerprint = fingerprint.replace(":", "").strip().lower()
            if not _FINGERPRINT.match(fingerprint):
                raise InputRefused(
                    "A fingerprint is the SHA-256 of the certificate: 64 hexadecimal digits, colons allowed."
                )
        now = self._source.now()
        hashed = keyed_hash(credentials_key, password) if password else None
        relay = RelayRow(relay_id, org.id, name, username, hashed, fingerprint, now)
        event = RelayAdded(
            at=now, who=Who.OPERATOR, actor=self._actor, org_id=org.id, relay=relay_id, by_certificate=password is None
        )
        try:
            async with self._db.write(event) as tx:
                await orgs.add_relay(tx, relay)
        except Duplicate:
            raise InputRefused("This certificate is a relay's already.") from None
        return Credential(relay, password)

    async def disable_relay(self, org: Organisation, relay_id: str) -> None:
        event = RelayDisabled(at=self._source.now(), who=Who.OPERATOR, actor=self._actor, org_id=org.id, relay=relay_id)
        async with self._db.read() as tx:
            known = {relay.id for relay in await orgs.relays_of(tx, org.id)}
        if relay_id not in known:
            raise InputRefused(f"{org.slug} has no relay {relay_id}; `portal relay list` names them.")
        async with self._db.write(event) as changed:
            await orgs.disable_relay(changed, RelayId(relay_id))

    async def set_policy(self, org_id: OrgId, wanted: Policy) -> Policy:
        """Puts a new version of a policy class into force; messages under way keep theirs."""
        if not _SLUG.match(wanted.name):
            raise InputRefused("A class has a name of lower-case letters, digits and dashes.")
        if wanted.life_days < 1 or wanted.retention_days < 1 or (wanted.reminder_days or 1) < 1:
            raise InputRefused("Days are counted from 1.")
        now = self._source.now()
        async with self._db.read() as tx:
            version = await orgs.latest_version(tx, org_id, wanted.name) + 1
        policy = replace(wanted, id=PolicyId(self._source.new_id()), org_id=org_id, version=version)
        event = PolicySet(
            at=now,
            who=Who.OPERATOR,
            actor=self._actor,
            org_id=org_id,
            name=policy.name,
            version=version,
            life_days=policy.life_days,
            retention_days=policy.retention_days,
            reply_allowed=policy.reply_allowed,
            assurance=int(policy.assurance),
            reminder_days=policy.reminder_days,
        )
        async with self._db.write(event) as changed:
            await orgs.set_policy(changed, policy)
        return policy


async def check_new(db: Database, slug: str, mail_from: str) -> None:
    """Raises InputRefused for what `add` would refuse; asked before keys are made."""
    if not _SLUG.match(slug):
        raise InputRefused("A short name has lower-case letters, digits and dashes, and starts with a letter.")
    check_mail_from(mail_from)
    async with db.read() as tx:
        if await orgs.by_slug(tx, slug):
            raise InputRefused(f"There is an organisation {slug} already.")


def check_mail_from(mail_from: str) -> None:
    try:
        address(mail_from)
    except ValueError:
        raise InputRefused(f"{mail_from} is not a mail address.") from None


def new_organisation(
    source: Source,
    org_id: OrgId,
    slug: str,
    name: str,
    kek_id: KekId,
    *,
    mail_from: str,
    address: str,
    phone: str,
    language: str,
) -> Organisation:
    return Organisation(org_id, slug, name, address, phone, mail_from, language, kek_id, source.now())


def fingerprint_of(pem: str) -> str:
    """SHA-256 of the certificate in a PEM text, in lower-case hex. Raises InputRefused."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN") :].strip())).hexdigest()
    except ValueError:
        raise InputRefused("This is no certificate in PEM form.") from None
