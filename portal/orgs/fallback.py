"""The relay's fallback, as the organisation configures it: which domains send, and which relays hand over with which credentials.

A sender domain is proved by the operator's word or by a TXT record. A relay has at most two credentials at once, so that it can
change over without an hour in which neither is valid. Passwords are shown once and kept as keyed hashes.
"""

import hashlib
import re
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from portal.clock import Source
from portal.db import orgs, overview, routes
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Claim, CredentialRow, Domain, Organisation, RelayRow
from portal.db.overview import Act
from portal.model.errors import InputRefused, PortalError
from portal.model.events import (
    By,
    DomainAdded,
    DomainClaimed,
    DomainNotProved,
    DomainRemoved,
    RelayAdded,
    RelayCredentialAdded,
    RelayCredentialDisabled,
    RelayDisabled,
    RelayDomainsSet,
    RelayModeSet,
)
from portal.model.ids import CredentialId, OrgId, RelayId
from portal.model.links import keyed_hash
from portal.model.parties import domain_name
from portal.model.routes import Mode
from portal.transport import Names

MOST_AT_ONCE = 2
"""Credentials of a relay that are valid at once."""
RECORD = "_portal-domain"
"""The label under which a domain's TXT record stands."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Credential:
    """What a relay logs in with; the password is shown once and kept only as a keyed hash."""

    relay: RelayRow
    row: CredentialRow
    password: str | None = field(repr=False)


@dataclass(frozen=True)
class State:
    """The fallback as it is configured. `bound` has the domains of relays that may not use all."""

    domains: list[Domain]
    claims: list[Claim]
    relays: list[RelayRow]
    credentials: list[CredentialRow]
    bound: dict[RelayId, list[str]]


class Fallback:
    """See the module. `names` looks TXT records up; None where nobody asks for a proof."""

    def __init__(
        self, db: Database, source: Source, by: By, credentials_key: bytes, names: Names | None = None
    ) -> None:
        self._db, self._source, self._by, self._key, self._names = db, source, by, credentials_key, names

    async def state(self, org: Organisation) -> State:
        async with self._db.read() as tx:
            return State(
                await orgs.domains_of(tx, org.id),
                await orgs.claims(tx, org.id),
                await orgs.relays_of(tx, org.id),
                await orgs.credentials_of(tx, org.id),
                await orgs.domains_of_relays(tx, org.id),
            )

    async def lately(self, org: Organisation, relay_id: str, limit: int = 30) -> list[Act]:
        """What a relay did last, newest first: taken in, or refused and why. Raises InputRefused."""
        relay, _ = await self.relay(org, relay_id)
        async with self._db.read() as tx:
            return await overview.of_actor(tx, org.id, relay.id, limit)

    # -- sender domains

    async def add_domain(self, org: Organisation, domain: str) -> str:
        """Takes the operator's word that senders of a domain are the organisation's. Raises InputRefused."""
        name = _domain(domain)
        await self._add(org.id, name, "operator")
        return name

    async def claim(self, org: Organisation, domain: str) -> Claim:
        """Says which TXT record would prove that a domain is the organisation's. Raises InputRefused."""
        name = _domain(domain)
        async with self._db.read() as tx:
            open_claims = await orgs.claims(tx, org.id)
            taken = name in await orgs.domains(tx, org.id)
        known = next((one for one in open_claims if one.domain == name), None)
        if known:
            return known
        if taken:
            raise InputRefused(f"{name} is one of your sender domains already.", "domain")
        if len(open_claims) >= 50:
            raise InputRefused("There are 50 domains that wait for their proof. Prove or drop one first.", "domain")
        now = self._source.now()
        made = Claim(org.id, name, f"portal-domain={secrets.token_urlsafe(24)}", now)
        async with self._db.write(DomainClaimed(**self._by.facts(now, org.id), domain=name)) as changed:
            await orgs.claim_domain(changed, made)
        return made

    async def prove(self, org: Organisation, domain: str) -> None:
        """Looks for the TXT record of a claimed domain, and adds the domain. Raises InputRefused, saying what was found."""
        async with self._db.read() as tx:
            claimed = next((one for one in await orgs.claims(tx, org.id) if one.domain == domain), None)
        if claimed is None or self._names is None:
            raise InputRefused("Nobody waits for a proof of this domain. Add it first.", "domain")
        wanted, reason = f"{RECORD}.{claimed.domain}", ""
        try:
            found = await self._names.txt(wanted)
        except PortalError as error:
            found, reason = (), f"the name servers did not answer ({error})"
        if claimed.token not in found:
            reason = reason or (f"{len(found)} other TXT records are there" if found else "there is no such record")
            facts = self._by.facts(self._source.now(), org.id)
            await self._db.record(DomainNotProved(**facts, domain=claimed.domain, reason=reason[:200]))
            raise InputRefused(
                f"The TXT record at {wanted} was not found: {reason}. Set it as shown; name servers may need an hour.",
                "domain",
            )
        await self._add(org.id, claimed.domain, "dns")

    async def _add(self, org_id: OrgId, name: str, proof: str) -> None:
        event = DomainAdded(**self._by.facts(self._source.now(), org_id), domain=name, proof=proof)
        try:
            async with self._db.write(event) as tx:
                await orgs.add_domain(tx, org_id, name)
        except Duplicate:
            raise InputRefused(f"{name} is an organisation's domain already.", "domain") from None

    async def remove_domain(self, org: Organisation, domain: str) -> None:
        """Raises InputRefused for the domain that the organisation's own mail comes from, for one that is not there, and while a
        relay is bound to it alone: bound to nothing, that relay could hand over mail of every domain.
        """
        if org.mail_from.rpartition("@")[2].lower() == domain:
            raise InputRefused("Notices come from an address in this domain. Change that address first.", "domain")
        async with self._db.read() as tx:
            if domain not in await orgs.domains(tx, org.id):
                raise InputRefused(f"{domain} is not one of your sender domains.", "domain")
        async with self._db.write(
            DomainRemoved(**self._by.facts(self._source.now(), org.id), domain=domain)
        ) as changed:
            bound = await orgs.domains_of_relays(changed, org.id)
            for relay in await orgs.relays_of(changed, org.id):
                if relay.disabled_at is None and bound.get(relay.id) == [domain]:
                    raise InputRefused(
                        f"The relay {relay.name} is bound to {domain} alone. Bind it to another domain, or disable it, first.",
                        "domain",
                    )
            await orgs.remove_domain(changed, org.id, domain)

    # -- relays and their credentials

    async def add_relay(
        self, org: Organisation, name: str, fingerprint: str | None, mode: str = Mode.TRUST
    ) -> Credential:
        """Makes a relay with its first credential: a password, or a client certificate's fingerprint. Raises InputRefused."""
        name = " ".join(name.split())
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise InputRefused("Give the relay a name of up to 100 characters.", "name")
        now = self._source.now()
        relay = RelayRow(RelayId(self._source.new_id()), org.id, name, now, mode=_mode(mode))
        row, password = self._credential(org, relay.id, fingerprint)
        event = RelayAdded(
            **self._by.facts(now, org.id), relay=relay.id, by_certificate=password is None, mode=relay.mode
        )
        try:
            async with self._db.write(event) as tx:
                await orgs.add_relay(tx, relay, row)
        except Duplicate:
            raise InputRefused("This certificate is a relay's already.", "fingerprint") from None
        return Credential(relay, row, password)

    async def rotate(self, org: Organisation, relay_id: str, fingerprint: str | None) -> Credential:
        """Gives a relay a second credential; the first stays valid until it is disabled. Raises InputRefused."""
        relay, _ = await self.relay(org, relay_id)
        if relay.disabled_at:
            raise InputRefused("This relay is disabled. Make a new one.")
        row, password = self._credential(org, relay.id, fingerprint)
        facts = self._by.facts(self._source.now(), org.id)
        event = RelayCredentialAdded(**facts, relay=relay.id, credential=row.id, by_certificate=password is None)
        try:
            async with self._db.write(event) as tx:
                if await orgs.add_credential(tx, row) > MOST_AT_ONCE:
                    raise InputRefused("Two credentials are valid already. Disable the old one first.")
        except Duplicate:
            raise InputRefused("This certificate is a relay's already.", "fingerprint") from None
        return Credential(relay, row, password)

    def _credential(
        self, org: Organisation, relay_id: RelayId, fingerprint: str | None
    ) -> tuple[CredentialRow, str | None]:
        credential_id, now = CredentialId(self._source.new_id()), self._source.now()
        if fingerprint is not None:
            pin = fingerprint.replace(":", "").strip().lower()
            if not _FINGERPRINT.match(pin):
                raise InputRefused(
                    "A fingerprint is the SHA-256 of the certificate: 64 hexadecimal digits, colons allowed.",
                    "fingerprint",
                )
            return CredentialRow(credential_id, org.id, relay_id, None, None, pin, now), None
        username, password = f"{org.slug}-{secrets.token_hex(4)}", secrets.token_urlsafe(32)
        return CredentialRow(
            credential_id, org.id, relay_id, username, keyed_hash(self._key, password), None, now
        ), password

    async def disable_credential(self, org: Organisation, relay_id: str, credential_id: str) -> None:
        """Raises InputRefused when it is not there, or disabled already."""
        _, credentials = await self.relay(org, relay_id)
        found = next((one for one in credentials if one.id == credential_id and one.disabled_at is None), None)
        if found is None:
            raise InputRefused("This credential is disabled already.")
        facts = self._by.facts(self._source.now(), org.id)
        async with self._db.write(RelayCredentialDisabled(**facts, relay=relay_id, credential=found.id)) as changed:
            await orgs.disable_credential(changed, found)

    async def disable_relay(self, org: Organisation, relay_id: str) -> None:
        """Takes a relay out of use, with all its credentials. Raises InputRefused."""
        relay, _ = await self.relay(org, relay_id)
        async with self._db.write(
            RelayDisabled(**self._by.facts(self._source.now(), org.id), relay=relay.id)
        ) as changed:
            if not await orgs.disable_relay(changed, relay.id):
                raise InputRefused("This relay is disabled already.")

    async def bind(self, org: Organisation, relay_id: str, domains: Sequence[str]) -> None:
        """Says which sender domains a relay may hand over mail of; none means all. Raises InputRefused."""
        relay, _ = await self.relay(org, relay_id)
        async with self._db.read() as tx:
            own = await orgs.domains(tx, org.id)
        if set(domains) - set(own):
            raise InputRefused("A relay is bound to sender domains of its own organisation only.", "domains")
        chosen = tuple(sorted(set(domains)))
        event = RelayDomainsSet(**self._by.facts(self._source.now(), org.id), relay=relay.id, domains=chosen)
        async with self._db.write(event) as changed:
            await orgs.set_relay_domains(changed, org.id, relay.id, chosen)

    async def set_mode(self, org: Organisation, relay_id: str, mode: str) -> None:
        """Says how a relay is listened to: `arbiter`, `trust` or `explicit`; connections that stand go on as they are. Raises
        InputRefused."""
        relay, _ = await self.relay(org, relay_id)
        wanted = _mode(mode)
        event = RelayModeSet(**self._by.facts(self._source.now(), org.id), relay=relay.id, mode=wanted)
        async with self._db.write(event) as changed:
            await routes.set_mode(changed, relay.id, wanted)

    async def relay(self, org: Organisation, relay_id: str) -> tuple[RelayRow, list[CredentialRow]]:
        """A relay with its credentials. Raises InputRefused when the organisation has no such relay."""
        async with self._db.read() as tx:
            found = next((one for one in await orgs.relays_of(tx, org.id) if one.id == relay_id), None)
            credentials = [one for one in await orgs.credentials_of(tx, org.id) if one.relay_id == relay_id]
        if found is None:
            raise InputRefused(f"{org.slug} has no relay {relay_id[:40]}; `portal relay list` names them.")
        return found, credentials


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise InputRefused("A relay's mode is arbiter, trust or explicit.", "mode") from None


def _domain(text: str) -> str:
    try:
        return domain_name(text)
    except ValueError:
        raise InputRefused(f"{text[:80]} is not a domain name.", "domain") from None


def fingerprint_of(pem: str) -> str:
    """SHA-256 of the certificate in a PEM text, in lower-case hex. Raises InputRefused."""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN") :].strip())).hexdigest()
    except ValueError:
        raise InputRefused("This is no certificate in PEM form.", "fingerprint") from None
