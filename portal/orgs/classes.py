"""Classes of messages: what each asks for, which mail comes under which, and what a change would do before it is made.

A class has versions; a message keeps the one it came under. Which class a mail comes under says its header, else the first rule
that fits: a tag in its subject, its sender, its sender's domain; else the class `default`.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime

from portal.clock import Source
from portal.db import orgs, overview
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Rule
from portal.model.assurance import Assurance
from portal.model.errors import InputRefused
from portal.model.events import By, PolicyRuleRemoved, PolicyRuleSet, PolicySet
from portal.model.ids import OrgId, PolicyId
from portal.model.parties import address, domain_name
from portal.model.policy import Policy, Scan, check_policy
from portal.sealing import Field
from portal.sealing.open import Fields
from portal.sealing.seal import Sealer

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_TAG = re.compile(r"[^\[\]\x00-\x1f]{1,40}\Z")
KINDS = ("tag", "sender", "domain")


@dataclass(frozen=True)
class Difference:
    """One thing that a change would change: the field, and its value before (None for a new class) and after."""

    field: str
    before: object
    after: object


@dataclass(frozen=True)
class Preview:
    """What a change would do: to the class, and what it leaves alone. `base` is the version it was made from."""

    wanted: Policy
    base: int
    differences: tuple[Difference, ...]
    under_way: int
    """Messages that came under the class and can still be read: they keep their version."""
    recipients: int
    """People who had a message of this class in the last 90 days."""
    out_of_reach: int
    """Those of them who have no way to the level it will need; their senders must give an access code or a phone number."""


@dataclass(frozen=True)
class ShownRule:
    """A rule with its value. `ref` names it in forms."""

    ref: str
    kind: str
    value: str
    policy_name: str


class Classes:
    """See the module."""

    def __init__(self, db: Database, source: Source, by: By, *, scans: bool = True) -> None:
        """`scans` says that the portal has a virus scanner: without one, a class that requires it would show nothing to anybody."""
        self._db, self._source, self._by, self._scans = db, source, by, scans

    async def set(self, org_id: OrgId, wanted: Policy, base: int | None = None) -> Policy:
        """Puts a new version into force. `base` is the version that whoever wants it has seen. Raises InputRefused."""
        self.check(wanted)
        now = self._source.now()
        async with self._db.read() as tx:
            version = await orgs.latest_version(tx, org_id, wanted.name) + 1
        if base is not None and base != version - 1:
            raise InputRefused("Somebody else changed this class meanwhile. Look at it again, then repeat your change.")
        policy = replace(wanted, id=PolicyId(self._source.new_id()), org_id=org_id, version=version)
        event = PolicySet(
            **self._by.facts(now, org_id),
            name=policy.name,
            version=version,
            life_days=policy.life_days,
            retention_days=policy.retention_days,
            reply_allowed=policy.reply_allowed,
            assurance=int(policy.assurance),
            reminder_days=policy.reminder_days,
            warn_days=policy.warn_days,
            notice_language=policy.notice_language,
            unverified_notice=policy.unverified_notice,
            scan=policy.scan.value,
            previews=policy.previews,
            receipts=policy.receipts,
            reply_all=policy.reply_all,
            graduate=policy.graduate,
        )
        try:
            async with self._db.write(event) as changed:
                await orgs.set_policy(changed, policy)
        except Duplicate:
            raise InputRefused(
                "Somebody else changed this class meanwhile. Look at it again, then repeat your change."
            ) from None
        return policy

    async def every(self, org_id: OrgId) -> list[Policy]:
        """The classes in force, by name."""
        async with self._db.read() as tx:
            return await orgs.policies_in_force(tx, org_id)

    async def versions(self, org_id: OrgId, name: str) -> list[tuple[Policy, datetime]]:
        """Every version of a class with the moment it came into force, newest first."""
        async with self._db.read() as tx:
            return await orgs.versions(tx, org_id, name)

    def check(self, wanted: Policy) -> None:
        """Raises InputRefused for what `set` would refuse."""
        if not _NAME.match(wanted.name):
            raise InputRefused("A class has a name of lower-case letters, digits and dashes.", "name")
        check_policy(wanted)
        if wanted.scan is Scan.REQUIRED and not self._scans:
            raise InputRefused(
                "This portal has no virus scanner, so each message would wait for an admin. Have the operator set one up first.",
                "scan",
            )

    async def preview(self, org_id: OrgId, wanted: Policy) -> Preview:
        """What `set` would do now. Raises InputRefused."""
        self.check(wanted)
        now = self._source.now()
        async with self._db.read() as tx:
            known = {one.name: one for one in await orgs.policies_in_force(tx, org_id)}
            under_way = await overview.under_way(tx, org_id, wanted.name)
            people = await overview.recent_recipients(tx, org_id, wanted.name, now)
            short = 0
            if wanted.assurance > Assurance.MAILBOX:
                short = await overview.without_second_way(tx, org_id, wanted.name, now, wanted.assurance)
        before = known.get(wanted.name)
        fields = [name for name in Policy.__dataclass_fields__ if name not in ("id", "org_id", "name", "version")]
        changed = [
            Difference(name, getattr(before, name) if before else None, getattr(wanted, name))
            for name in fields
            if before is None or getattr(before, name) != getattr(wanted, name)
        ]
        return Preview(wanted, before.version if before else 0, tuple(changed), under_way, people, short)


class Rules:
    """Which class a mail comes under where its header names none. Values are sealed: a sender's address is nobody's business."""

    def __init__(self, db: Database, sealer: Sealer, fields: Fields, source: Source) -> None:
        self._db, self._sealer, self._fields, self._source = db, sealer, fields, source

    async def every(self, org_id: OrgId) -> list[ShownRule]:
        async with self._db.read() as tx:
            found = await orgs.rules(tx, org_id)
        shown = []
        for one in found:
            field = Field(one.epoch_id, one.value_sealed)
            value = (await self._fields.open(org_id, one.value_hash.hex(), "rule", field)).decode()
            shown.append(ShownRule(one.value_hash.hex(), one.kind, value, one.policy_name))
        return sorted(shown, key=lambda one: (KINDS.index(one.kind), one.value))

    async def set(self, org_id: OrgId, kind: str, text: str, policy_name: str, by: By) -> None:
        """Raises InputRefused."""
        value = _value(kind, text)
        async with self._db.read() as tx:
            classes = {one.name for one in await orgs.policies_in_force(tx, org_id)}
            domains = await orgs.domains(tx, org_id)
        if policy_name not in classes:
            raise InputRefused("There is no class of that name. Make the class first.", "policy_name")
        if kind != "tag" and value.rpartition("@")[2] not in domains:
            raise InputRefused("That is not in a sender domain of this organisation. Add the domain first.", "value")
        hashed = self._sealer.index(org_id, f"rule {kind}", value)
        field = await self._sealer.field(org_id, hashed.hex(), "rule", value.encode())
        now = self._source.now()
        rule = Rule(org_id, hashed, kind, field.sealed, field.epoch_id, policy_name, now)
        event = PolicyRuleSet(**by.facts(now, org_id), kind_of_rule=kind, rule=hashed.hex(), name=policy_name)
        async with self._db.write(event) as changed:
            await orgs.set_rule(changed, rule)

    async def remove(self, org_id: OrgId, ref: str, by: By) -> None:
        """Raises InputRefused when it is gone already."""
        async with self._db.read() as tx:
            found = next((one for one in await orgs.rules(tx, org_id) if one.value_hash.hex() == ref), None)
        if found is None:
            raise InputRefused("This rule is gone already.")
        async with self._db.write(PolicyRuleRemoved(**by.facts(self._source.now(), org_id), rule=ref)) as changed:
            await orgs.remove_rule(changed, org_id, found.value_hash)


def _value(kind: str, text: str) -> str:
    """A rule's value in the form it is compared in. Raises InputRefused."""
    try:
        if kind == "sender":
            return str(address(text))
        if kind == "domain":
            return domain_name(text)
    except ValueError:
        raise InputRefused(f"This is no {'mail address' if kind == 'sender' else 'domain name'}.", "value") from None
    tag = " ".join(text.strip().strip("[]").casefold().split())
    if kind != "tag" or not _TAG.match(tag):
        raise InputRefused("A tag is a word that stands in brackets in the subject, up to 40 characters.", "value")
    return tag
