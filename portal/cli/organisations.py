"""Organisations, their domains, relays, policies and keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.shared import Org, group, in_house, operator, out, show_table, utc
from portal.model.errors import InputRefused

if TYPE_CHECKING:
    from portal.assembly import House
    from portal.orgs.fallback import Credential

org_app, domain_app, relay_app, policy_app, keys_app = group(), group(), group(), group(), group()
route_app = group()
_MODES = "arbiter: it brings what it could not send, the portal says what belongs here; trust: all it brings belongs here; explicit: "
_MODES += "it brings what senders marked."


@org_app.command("add")
def org_add(
    slug: str,
    name: Annotated[str, typer.Option(help="As patients know it.")],
    mail_from: Annotated[str, typer.Option(help="The address notices come from, in the organisation's own domain.")],
    address: Annotated[str, typer.Option(help="Postal address, shown on every page.")] = "",
    phone: Annotated[str, typer.Option(help="Number by which patients check that a notice is real.")] = "",
    language: Annotated[str, typer.Option(help="Language of notices: en or es.")] = "en",
) -> None:
    """Add an organisation with its keys and the default policy."""

    async def work(house: "House") -> None:
        from portal.model.ids import OrgId
        from portal.orgs.setup import Setup, check_new, new_organisation
        from portal.web.languages import LANGUAGES

        if language not in LANGUAGES:
            raise InputRefused(f"The portal speaks {', '.join(LANGUAGES)}.")
        setup = Setup(house.db, house.source, operator())
        await check_new(house.db, slug, mail_from)
        org_id = OrgId(house.source.new_id())
        kek_id = house.keyring.add_organisation(org_id)
        made = new_organisation(
            house.source,
            org_id,
            slug,
            name,
            kek_id,
            mail_from=mail_from,
            address=address,
            phone=phone,
            language=language,
        )
        await setup.add(made)
        out.print(f"Added {name} ({slug}). Next: portal org domain add --org {slug} DOMAIN", markup=False)

    in_house(work)


@org_app.command("set")
def org_set(
    org: Org,
    name: str | None = None,
    mail_from: str | None = None,
    address: str | None = None,
    phone: str | None = None,
    language: str | None = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Its own host name for patients, beside base_url; the proxy must serve it. Empty takes it away."
        ),
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(help="Where new messages of its recipients go, in a sender domain of its own. Empty takes none."),
    ] = None,
) -> None:
    """Change how an organisation presents itself."""
    given = {
        "name": name,
        "mail_from": mail_from,
        "address": address,
        "phone": phone,
        "language": language,
        "host": host,
        "contact": contact,
    }

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, operator())
        await setup.present(
            await setup.organisation(org),
            {
                key: value or (None if key in ("host", "contact") else value)
                for key, value in given.items()
                if value is not None
            },
        )

    in_house(work)


@org_app.command("list")
def org_list() -> None:
    """List organisations, their domains and KEKs."""

    async def work(house: "House") -> None:
        from portal.db import orgs

        async with house.db.read() as tx:
            rows = [(one, await orgs.domains(tx, one.id)) for one in await orgs.every(tx)]
        show_table(
            ("short name", "name", "domains", "KEK"),
            [(one.slug, one.name, ", ".join(names), one.kek_id) for one, names in rows],
        )

    in_house(work)


@domain_app.command("add")
def org_domain_add(domain: str, org: Org) -> None:
    """Let senders of DOMAIN use the portal."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        name = await house.fallback(operator()).add_domain(found, domain)
        out.print(f"{org} sends from {name}. Next: portal relay add --org {org} NAME", markup=False)

    in_house(work)


@relay_app.command("add")
def relay_add(
    name: str,
    org: Org,
    fingerprint: Annotated[
        str | None, typer.Option(help="SHA-256 of the relay's client certificate, instead of a password.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The relay's client certificate (PEM), instead of a password.")
    ] = None,
    mode: Annotated[str, typer.Option(help=_MODES)] = "trust",
) -> None:
    """Make a relay's credential. The password is shown once."""

    async def work(house: "House") -> None:
        from portal.orgs.fallback import fingerprint_of
        from portal.orgs.setup import Setup

        pin = fingerprint_of(certificate.read_text(encoding="ascii")) if certificate else fingerprint
        found = await Setup(house.db, house.source, operator()).organisation(org)
        _show_credential(await house.fallback(operator()).add_relay(found, name, pin, mode))

    in_house(work)


@relay_app.command("mode")
def relay_mode(relay: str, mode: Annotated[str, typer.Argument(help=_MODES)], org: Org) -> None:
    """Say how a relay is listened to. Connections that stand go on as they are."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.fallback(operator()).set_mode(found, relay, mode)

    in_house(work)


@relay_app.command("list")
def relay_list(org: Org) -> None:
    """List an organisation's relays."""

    async def work(house: "House") -> None:
        from portal.db import orgs
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        async with house.db.read() as tx:
            known = {one.id: one for one in await orgs.relays_of(tx, found.id)}
            rows = await orgs.credentials_of(tx, found.id)
        table = [
            (
                r.relay_id,
                known[r.relay_id].name,
                known[r.relay_id].mode,
                r.id,
                r.username or r.fingerprint or "",
                utc(r.used_at),
                r.used_from or "",
                utc(r.disabled_at or known[r.relay_id].disabled_at),
            )
            for r in rows
        ]
        show_table(("relay", "name", "mode", "credential", "known by", "last used", "from", "disabled"), table)

    in_house(work)


@relay_app.command("disable")
def relay_disable(relay: str, org: Org) -> None:
    """Take a relay's credential out of use."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.fallback(operator()).disable_relay(found, relay)

    in_house(work)


@relay_app.command("rotate")
def relay_rotate(
    relay: str,
    org: Org,
    certificate: Annotated[
        Path | None, typer.Option(help="Its new client certificate (PEM), instead of a password.")
    ] = None,
) -> None:
    """Give a relay a second credential. The first stays valid until it is disabled: `portal relay disable-credential`."""

    async def work(house: "House") -> None:
        from portal.orgs.fallback import fingerprint_of
        from portal.orgs.setup import Setup

        pin = fingerprint_of(certificate.read_text(encoding="ascii")) if certificate else None
        found = await Setup(house.db, house.source, operator()).organisation(org)
        _show_credential(await house.fallback(operator()).rotate(found, relay, pin))

    in_house(work)


@relay_app.command("disable-credential")
def relay_disable_credential(relay: str, credential: str, org: Org) -> None:
    """Take one credential of a relay out of use."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.fallback(operator()).disable_credential(found, relay, credential)

    in_house(work)


def _show_credential(made: "Credential") -> None:
    out.print(f"Relay {made.relay.id}", markup=False)
    if made.password:
        out.print(f"user name: {made.row.username}\npassword:  {made.password}", markup=False)
        out.print("The password is not kept: note it now.")
    else:
        out.print(f"known by its certificate {made.row.fingerprint}", markup=False)


@route_app.command("level")
def route_level(
    level: Annotated[str, typer.Argument(help="encrypt, or verify: a trusted certificate for the host's name too.")],
    org: Org,
    after_hours: Annotated[
        int | None,
        typer.Option(
            help="Take what a relay keeps bringing for so long, whatever is seen of its hosts. Not given: never."
        ),
    ] = None,
) -> None:
    """Say what TLS to recipients' mail hosts must be, for their mail not to come to the portal."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.routes().set_transport(found.id, level, after_hours, operator())

    in_house(work)


@route_app.command("look")
def route_look(
    domain: Annotated[str, typer.Argument(help="A domain of recipients.")],
    level: Annotated[str, typer.Option(help="encrypt or verify.")] = "encrypt",
) -> None:
    """Look at a domain's mail hosts now, from this machine, and say what would come of its mail."""

    async def work(house: "House") -> None:
        from portal.model.routes import Level

        try:
            found = await house.verdicts.verdict(domain, Level(level))
        except ValueError:
            raise InputRefused("Give a domain name, and encrypt or verify as the level.") from None
        for line in found.transcript:
            out.print(line, markup=False)
        out.print(f"{found.outcome} by {found.rule}", markup=False)

    in_house(work)


@route_app.command("set")
def route_set(
    value: Annotated[str, typer.Argument(help="An address, or a domain of recipients.")],
    route: Annotated[str, typer.Argument(help="always, never, encrypt or verify.")],
    org: Org,
) -> None:
    """Set the way of mail to one recipient or one domain."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.routes().set(found.id, value, route, operator())

    in_house(work)


@route_app.command("list")
def route_list(org: Org) -> None:
    """List the ways that are set."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        hours = f", portal after {found.portal_after_hours} h" if found.portal_after_hours else ""
        out.print(f"level {found.tls_level}{hours}", markup=False)
        rows = await house.routes().every(found.id)
        show_table(("for", "way", "ref"), [(one.value, one.route, one.ref) for one in rows])

    in_house(work)


@route_app.command("remove")
def route_remove(ref: Annotated[str, typer.Argument(help="As `portal route list` shows it.")], org: Org) -> None:
    """Take a way that is set away again."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        await house.routes().remove(found.id, ref, operator())

    in_house(work)


@policy_app.command("set")
def policy_set(
    org: Org,
    cls: Annotated[
        str, typer.Option("--class", help="Class of messages; a sender picks it by X-Portal-Class.")
    ] = "default",
    life_days: int = 30,
    reminder_days: Annotated[
        int | None,
        typer.Option(help="Days before the end; 0 for no reminder. 5 when not given, where that is possible."),
    ] = None,
    warn_days: Annotated[
        int | None,
        typer.Option(help="Days before the end at which the sender of an unread message is told. 3 when not given."),
    ] = None,
    retention_days: int = 365,
    reply: bool = True,
    assurance: Annotated[int, typer.Option(help="1 mailbox, 2 two channels, 3 passkey.")] = 1,
    notice_language: Annotated[
        str | None, typer.Option(help="Language of its notices; the organisation's when not given.")
    ] = None,
    unverified_notice: Annotated[
        bool, typer.Option(help="Whether a notice may go over hops whose TLS nobody verified.")
    ] = True,
    scan: Annotated[
        str,
        typer.Option(
            help="The virus scanner: off, tried (goes on where it can't be scanned) or required (waits then)."
        ),
    ] = "tried",
    previews: Annotated[bool, typer.Option(help="Whether pictures, PDF and text are shown in the browser.")] = True,
    receipts: Annotated[
        bool, typer.Option(help="Whether recipients are asked for a read receipt where the sender wants one.")
    ] = False,
    reply_all: Annotated[
        bool,
        typer.Option(
            help="Whether a reply may go to the others of the message too, where they are in a sender domain of the organisation."
        ),
    ] = False,
    graduate: Annotated[
        bool, typer.Option(help="Whether what waits unread goes out by the relay once its recipient's domain is safe.")
    ] = False,
) -> None:
    """Put a new version of a policy class into force, or make a class. Messages already taken keep theirs."""

    async def work(house: "House") -> None:
        from portal.model.assurance import Assurance
        from portal.model.ids import PolicyId
        from portal.model.policy import Policy, Scan
        from portal.orgs.setup import Setup
        from portal.web.languages import LANGUAGES

        organisation = await Setup(house.db, house.source, operator()).organisation(org)
        if assurance not in tuple(Assurance):
            raise InputRefused("Assurance is 1, 2 or 3.")
        if notice_language not in (None, *LANGUAGES):
            raise InputRefused(f"The portal speaks {', '.join(LANGUAGES)}.")
        if scan not in tuple(Scan):
            raise InputRefused(f"--scan is {', '.join(Scan)}.")
        reminder = (5 if life_days > 5 else None) if reminder_days is None else reminder_days or None
        wanted = Policy(
            id=PolicyId(""),
            org_id=organisation.id,
            name=cls,
            version=0,
            life_days=life_days,
            reminder_days=reminder,
            retention_days=retention_days,
            reply_allowed=reply,
            assurance=Assurance(assurance),
            warn_days=min(3, life_days) if warn_days is None else warn_days,
            notice_language=notice_language,
            unverified_notice=unverified_notice,
            scan=Scan(scan),
            previews=previews,
            receipts=receipts,
            reply_all=reply_all,
            graduate=graduate,
        )
        made = await house.classes(operator()).set(organisation.id, wanted)
        out.print(f"{made.name} {made.version} is in force.", markup=False)

    in_house(work)


@policy_app.command("list")
def policy_list(org: Org) -> None:
    """List an organisation's policy classes as they are in force."""

    async def work(house: "House") -> None:
        from portal.db import orgs
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        async with house.db.read() as tx:
            known = await orgs.policies_in_force(tx, found.id)
        table = [
            (
                one.name,
                str(one.version),
                str(int(one.assurance)),
                str(one.life_days),
                str(one.reminder_days or 0),
                str(one.warn_days or 0),
                str(one.retention_days),
                "yes" if one.reply_allowed else "no",
            )
            for one in known
        ]
        show_table(
            ("class", "version", "assurance", "life days", "reminder days", "warn days", "retention days", "reply"),
            table,
        )

    in_house(work)


@keys_app.command("rotate")
def keys_rotate(org: Org) -> None:
    """Make a new KEK for an organisation. Then: portal keys rewrap."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, operator())
        organisation = await setup.organisation(org)
        new = await setup.rotate(organisation, house.keyring.rotate)
        out.print(f"New epochs are wrapped to {new}. Next: portal keys rewrap --org {org}", markup=False)

    in_house(work)


@keys_app.command("rewrap")
def keys_rewrap(org: Org) -> None:
    """Wrap every epoch key of an organisation to its current KEK. Can be stopped and run again."""

    async def work(house: "House") -> None:
        from portal.keys.keyring import KeyringUnwrapper, KeyringWrapper
        from portal.orgs.setup import Setup
        from portal.sealing.rewrap import rewrap

        organisation = await Setup(house.db, house.source, operator()).organisation(org)
        wrapper, unwrapper = KeyringWrapper(house.keyring), KeyringUnwrapper(house.keyring)
        kek_id = house.keyring.current(organisation.id)
        turned = await rewrap(house.db, wrapper, unwrapper, house.source, organisation.id, kek_id, operator().actor)
        out.print(f"{turned} epoch keys were wrapped to {kek_id}.", markup=False)

    in_house(work)
