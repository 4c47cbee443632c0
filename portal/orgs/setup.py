"""Sets organisations up: who they are, how they look, and with which keys. Relays: fallback.py; classes of messages: classes.py."""

import re
import secrets
from collections.abc import Callable, Mapping

from portal.clock import Source
from portal.db import orgs
from portal.db.engine import Database, Duplicate
from portal.db.orgs import Organisation
from portal.model.errors import InputRefused, NotFound
from portal.model.events import By, KekRotated, OrganisationAdded, OrganisationChanged
from portal.model.ids import KekId, OrgId, PolicyId
from portal.model.notice import check_words
from portal.model.parties import address, domain_name
from portal.model.policy import DEFAULT_CLASS, Policy
from portal.model.reply import ROUTES
from portal.orgs.classes import Classes

_SLUG = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")


class Setup:
    """See the module. `by` is who acts, for the record."""

    def __init__(self, db: Database, source: Source, by: By) -> None:
        self._db, self._source, self._by = db, source, by

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
        event = KekRotated(**self._by.facts(self._source.now(), org.id), old=org.kek_id, new=new)
        async with self._db.write(event) as tx:
            await orgs.turn_to_kek(tx, org.id, new)
        return new

    async def look(self, name: str) -> tuple[str | None, bytes | None]:
        """Accent and logo by the name that pages call the look by. Raises NotFound."""
        found = await orgs.look(self._db, name)
        if found is None:
            raise NotFound("no such look")
        return found

    async def add(self, organisation: Organisation) -> None:
        """Adds an organisation with the default policy. Raises InputRefused."""
        facts = self._by.facts(self._source.now(), organisation.id)
        event = OrganisationAdded(**facts, slug=organisation.slug, kek_id=organisation.kek_id)
        try:
            async with self._db.write(event) as tx:
                await orgs.add(tx, organisation)
        except Duplicate:
            raise InputRefused(f"There is an organisation {organisation.slug} already.") from None
        classes = Classes(self._db, self._source, self._by)
        await classes.set(organisation.id, Policy(PolicyId(""), organisation.id, DEFAULT_CLASS, 0))

    async def _contact(self, org: Organisation, text: str) -> str:
        """Raises InputRefused: what people write goes to the organisation's own mail hosts, and to no path of the portal."""
        try:
            found = address(text)
        except ValueError:
            raise InputRefused("This is no mail address.", "contact") from None
        async with self._db.read() as tx:
            own = found.domain in await orgs.domains(tx, org.id)
        if not own or ROUTES & set(found.local):
            raise InputRefused("That is not in a sender domain of this organisation. Add the domain first.", "contact")
        if str(found) == org.mail_from.lower():
            raise InputRefused("Notices come from this address. Choose one that somebody reads.", "contact")
        return str(found)

    async def present(self, org: Organisation, values: Mapping[str, object]) -> None:
        """Changes how an organisation presents itself: name, address, phone, language, mail_from, accent, logo, device_bound,
        contact."""
        if "mail_from" in values:
            check_mail_from(str(values["mail_from"]))
        if values.get("contact"):
            values = {**values, "contact": await self._contact(org, str(values["contact"]))}
        if values.get("host"):
            values = {**values, "host": own_host(str(values["host"]))}
        if "notice_words" in values:
            check_words(str(values["notice_words"] or ""))
        changed = tuple(sorted(values))
        event = OrganisationChanged(**self._by.facts(self._source.now(), org.id), changed=changed)
        if {"accent", "logo"} & set(values):
            accent, logo = values.get("accent", org.accent), values.get("logo", org.logo)
            kind = {(True, False): "c", (False, True): "l", (True, True): "b"}.get((bool(accent), bool(logo)))
            values = {**values, "look": kind and f"{kind}{secrets.token_hex(8)}"}
        try:
            async with self._db.write(event) as tx:
                await orgs.present(tx, org.id, values)
        except Duplicate:
            raise InputRefused("This host name is another organisation's.", "host") from None


async def check_new(db: Database, slug: str, mail_from: str) -> None:
    """Raises InputRefused for what `add` would refuse; asked before keys are made."""
    if not _SLUG.match(slug):
        raise InputRefused("A short name has lower-case letters, digits and dashes, and starts with a letter.")
    check_mail_from(mail_from)
    async with db.read() as tx:
        if await orgs.by_slug(tx, slug):
            raise InputRefused(f"There is an organisation {slug} already.")


def own_host(text: str) -> str:
    """A host name for patients. Raises InputRefused."""
    try:
        name = domain_name(text)
    except ValueError:
        name = ""
    if "." not in name or "_" in name:
        raise InputRefused(f"{text[:80]} is not a host name such as messages.clinic.example.", "host")
    return name


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
