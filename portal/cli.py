"""`portal`: set up, serve, look after. Heavy modules are imported by the command that needs them."""

import getpass
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from portal.model.errors import InputRefused, PortalError

if TYPE_CHECKING:
    from portal.assembly import House
    from portal.db.deliveries import Delivery
    from portal.settings import Settings

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Secure recipient portal."
)
org_app, domain_app, relay_app, policy_app, keys_app, message_app, audit_app, config_app = (
    typer.Typer(no_args_is_help=True) for _ in range(8)
)
app.add_typer(org_app, name="org", help="Organisations.")
org_app.add_typer(domain_app, name="domain", help="Domains whose senders use the portal.")
app.add_typer(relay_app, name="relay", help="Relays that hand over mail.")
app.add_typer(policy_app, name="policy", help="What an organisation asks for its messages.")
app.add_typer(keys_app, name="keys", help="Key-encryption keys.")
app.add_typer(message_app, name="message", help="Messages and their deliveries: metadata only.")
app.add_typer(audit_app, name="audit", help="The record of who saw what.")
app.add_typer(config_app, name="config", help="Settings.")
out, err = Console(highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)

Org = Annotated[str, typer.Option("--org", help="The organisation's short name.")]


def main() -> None:
    """Runs a command. What the portal refuses is said in one line, and the exit status is 1."""
    try:
        app()
    except InputRefused as error:
        _stop(error.say)
    except PortalError as error:
        _stop(str(error))


def _stop(text: str) -> NoReturn:
    err.print(f"portal: {text}", markup=False)
    sys.exit(1)


def _settings() -> "Settings":
    from portal.settings import load

    return load()


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)


def _in_house(work: "Callable[[House], Coroutine[Any, Any, T]]") -> T:
    async def inside() -> T:
        from portal.assembly import open_house

        async with open_house(_settings()) as house:
            return await work(house)

    return _run(inside())


def _actor() -> str:
    return getpass.getuser()[:64]


# -- set up and serve


@app.command()
def init() -> None:
    """Make keyring, blob folder and database where the settings say. Refuses when there is a keyring already."""
    from portal.assembly import blob_store, keyring
    from portal.db.migrate import migrate

    settings = _settings()
    keyring(settings).create()
    blob_store(settings).make()
    revision = _run(migrate(settings.database_url, create=True))
    out.print(f"Made keyring, blob store and database (revision {revision}).")
    out.print("Back up the keyring now: without it nothing that is stored can be read. Next: portal org add")


@app.command()
def migrate() -> None:
    """Bring the database to this program's revision. Rows are carried forward."""
    from portal.db.migrate import migrate as upgrade

    out.print(f"The database is at revision {_run(upgrade(_settings().database_url))}.")


@app.command()
def serve(
    role: Annotated[list[str] | None, typer.Option(help="web, intake or worker; all of them when not given.")] = None,
) -> None:
    """Serve until SIGTERM, which lets what is in flight finish."""
    from portal.serve import log_to_stderr
    from portal.serve import serve as serve_roles
    from portal.settings import ROLES

    settings = _settings()
    unknown = sorted(set(role or ()) - set(ROLES))
    if unknown:
        _stop(f"no such role: {', '.join(unknown)}; roles are {', '.join(ROLES)}")
    log_to_stderr(settings.log_level)
    _run(serve_roles(settings, [one for one in ROLES if not role or one in role]))


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Folder for database, blobs, keys and certificates.")] = Path("demo-data"),
    port: Annotated[int | None, typer.Option(min=1024, max=65532, help="First of four ports in a row.")] = None,
) -> None:
    """Start everything on this machine, with a demo clinic and a mailbox page, and send one message through it."""
    from portal.demo import Ports, run

    data = data.absolute()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    _run(run(data, Ports.in_a_row(port) if port else Ports()))


@config_app.command("check")
def config_check() -> None:
    """Validate the settings without starting anything."""
    from portal.assembly import blob_store, keyring, submission
    from portal.db.engine import sqlite_path

    settings = _settings()
    sqlite_path(settings.database_url)
    blob_store(settings)
    keyring(settings)
    submission(settings)
    out.print("The settings are sound.")


@app.command()
def doctor() -> None:
    """Look at all the portal stands on. Exit status 1 if something is wrong."""
    from portal.doctor import examine

    findings = _run(examine(_settings()))
    for one in findings:
        out.print(f"{'ok  ' if one.ok else 'BAD '} {one.name}: {one.said}", markup=False, soft_wrap=True)
    if not all(one.ok for one in findings):
        sys.exit(1)


# -- organisations


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
        setup = Setup(house.db, house.source, _actor())
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

    _in_house(work)


@org_app.command("set")
def org_set(
    org: Org,
    name: str | None = None,
    mail_from: str | None = None,
    address: str | None = None,
    phone: str | None = None,
    language: str | None = None,
) -> None:
    """Change how an organisation presents itself."""
    given = {"name": name, "mail_from": mail_from, "address": address, "phone": phone, "language": language}

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, _actor())
        await setup.present(
            await setup.organisation(org), {key: value for key, value in given.items() if value is not None}
        )

    _in_house(work)


@org_app.command("list")
def org_list() -> None:
    """List organisations, their domains and KEKs."""

    async def work(house: "House") -> None:
        from portal.db import orgs

        async with house.db.read() as tx:
            rows = [(one, await orgs.domains(tx, one.id)) for one in await orgs.every(tx)]
        _table(
            ("short name", "name", "domains", "KEK"),
            [(one.slug, one.name, ", ".join(names), one.kek_id) for one, names in rows],
        )

    _in_house(work)


@domain_app.command("add")
def org_domain_add(domain: str, org: Org) -> None:
    """Let senders of DOMAIN use the portal."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, _actor())
        name = await setup.add_domain(await setup.organisation(org), domain)
        out.print(f"{org} sends from {name}. Next: portal relay add --org {org} NAME", markup=False)

    _in_house(work)


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
) -> None:
    """Make a relay's credential. The password is shown once."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup, fingerprint_of

        setup = Setup(house.db, house.source, _actor())
        pin = fingerprint_of(certificate.read_text(encoding="ascii")) if certificate else fingerprint
        made = await setup.add_relay(await setup.organisation(org), name, pin, house.keyring.secret("credentials"))
        out.print(f"Relay {made.relay.id}", markup=False)
        if made.password:
            out.print(f"user name: {made.relay.username}\npassword:  {made.password}", markup=False)
            out.print("The password is not kept: note it now.")
        else:
            out.print(f"known by its certificate {made.relay.fingerprint}", markup=False)

    _in_house(work)


@relay_app.command("list")
def relay_list(org: Org) -> None:
    """List an organisation's relays."""

    async def work(house: "House") -> None:
        from portal.db import orgs
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, _actor()).organisation(org)
        async with house.db.read() as tx:
            rows = await orgs.relays_of(tx, found.id)
        table = [
            (r.id, r.name, r.username or r.fingerprint or "", _time(r.used_at), _time(r.disabled_at)) for r in rows
        ]
        _table(("id", "name", "known by", "last used", "disabled"), table)

    _in_house(work)


@relay_app.command("disable")
def relay_disable(relay: str, org: Org) -> None:
    """Take a relay's credential out of use."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, _actor())
        await setup.disable_relay(await setup.organisation(org), relay)

    _in_house(work)


@policy_app.command("set")
def policy_set(
    org: Org,
    life_days: int = 30,
    reminder_days: Annotated[int, typer.Option(help="Days before the end; 0 for no reminder.")] = 5,
    retention_days: int = 365,
    reply: bool = True,
    assurance: Annotated[int, typer.Option(help="1 mailbox, 2 two channels, 3 passkey.")] = 1,
) -> None:
    """Put a new version of the default policy into force. Messages already taken keep theirs."""

    async def work(house: "House") -> None:
        from portal.model.assurance import Assurance
        from portal.model.ids import PolicyId
        from portal.model.policy import DEFAULT_CLASS, Policy
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, _actor())
        organisation = await setup.organisation(org)
        if assurance not in tuple(Assurance):
            raise InputRefused("Assurance is 1, 2 or 3.")
        if assurance > Assurance.MAILBOX:
            raise InputRefused("This version signs people in by emailed code only: assurance 1.")
        wanted = Policy(
            PolicyId(""),
            organisation.id,
            DEFAULT_CLASS,
            0,
            life_days,
            reminder_days or None,
            retention_days,
            reply,
            Assurance(assurance),
        )
        made = await setup.set_policy(organisation.id, wanted)
        out.print(f"{made.name} {made.version} is in force.", markup=False)

    _in_house(work)


# -- keys


@keys_app.command("rotate")
def keys_rotate(org: Org) -> None:
    """Make a new KEK for an organisation. Then: portal keys rewrap."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        setup = Setup(house.db, house.source, _actor())
        organisation = await setup.organisation(org)
        new = await setup.rotate(organisation, house.keyring.rotate)
        out.print(f"New epochs are wrapped to {new}. Next: portal keys rewrap --org {org}", markup=False)

    _in_house(work)


@keys_app.command("rewrap")
def keys_rewrap(org: Org) -> None:
    """Wrap every epoch key of an organisation to its current KEK. Can be stopped and run again."""

    async def work(house: "House") -> None:
        from portal.keys.keyring import KeyringUnwrapper, KeyringWrapper
        from portal.orgs.setup import Setup
        from portal.sealing.rewrap import rewrap

        organisation = await Setup(house.db, house.source, _actor()).organisation(org)
        wrapper, unwrapper = KeyringWrapper(house.keyring), KeyringUnwrapper(house.keyring)
        kek_id = house.keyring.current(organisation.id)
        turned = await rewrap(house.db, wrapper, unwrapper, house.source, organisation.id, kek_id, _actor())
        out.print(f"{turned} epoch keys were wrapped to {kek_id}.", markup=False)

    _in_house(work)


# -- messages


@message_app.command("list")
def message_list(
    org: Org,
    sender: Annotated[str | None, typer.Option(help="Exact address.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Exact address.")] = None,
    state: Annotated[str | None, typer.Option(help="State of one of its deliveries.")] = None,
    before: Annotated[str | None, typer.Option(help="Go on from the message with this id.")] = None,
    limit: int = 50,
) -> None:
    """List messages, newest first. The look is put on record."""

    async def work(house: "House") -> None:
        from portal.operator import Operator

        rows = await Operator(house, _actor()).list_messages(org, sender, recipient, state, before, limit)
        _table(
            ("message", "accepted", "size", "deliveries"),
            [(r.id, _time(r.accepted_at), str(r.size), r.states) for r in rows],
        )

    _in_house(work)


@message_app.command("show")
def message_show(message: str, org: Org) -> None:
    """Show what happened to a message, for each recipient. The look is put on record."""

    async def work(house: "House") -> None:
        from portal.operator import Operator

        for line in await Operator(house, _actor()).show_message(org, message):
            out.print(line, markup=False, soft_wrap=True)

    _in_house(work)


Message = Annotated[str, typer.Argument(help="The message's id, or with --delivery one of its deliveries only.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
One = Annotated[str | None, typer.Option("--delivery", help="One delivery's id; all recipients when not given.")]


@message_app.command("revoke")
def message_revoke(message: Message, org: Org, reason: Reason, delivery: One = None) -> None:
    """Take a message back: nobody reads it from now on; downloads under way end."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.revoke(one, op.by, reason), "revoked")


@message_app.command("restore")
def message_restore(message: Message, org: Org, reason: Reason, delivery: One = None) -> None:
    """Give a revoked message back."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.restore(one, op.by, reason), "restored")


@message_app.command("expire")
def message_expire(message: Message, org: Org, delivery: One = None) -> None:
    """End a message now, as if its time were up."""
    _each(org, message, delivery, lambda op, one: op.lifecycle.expire(one, op.by), "expired")


@message_app.command("extend")
def message_extend(
    message: Message, org: Org, days: Annotated[int, typer.Option(help="From now.")], delivery: One = None
) -> None:
    """Let a message be read for DAYS from now, also one that has expired."""
    until = datetime.now(UTC) + timedelta(days=days)
    _each(org, message, delivery, lambda op, one: op.lifecycle.extend(one, op.by, until), "extended")


def _each(
    org: str, message: str, delivery: str | None, act: "Callable[[Any, Delivery], Coroutine[Any, Any, bool]]", done: str
) -> None:
    async def work(house: "House") -> None:
        from portal.operator import Operator

        operator = Operator(house, _actor())
        for line in await operator.each(org, message, delivery, lambda one: act(operator, one), done):
            out.print(line, markup=False)

    _in_house(work)


@app.command()
def dispose(dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go.")] = False) -> None:
    """Destroy what retention has released: grants, then content. The worker does this by itself; this does it now."""

    async def work(house: "House") -> None:
        disposition = house.disposition()
        if dry_run:
            _table(
                ("delivery", "message", "state"), [(d.id, d.message_id, d.state.value) for d in await disposition.due()]
            )
            return
        count = 0
        while turn := await disposition.run():
            count += turn
        out.print(f"{count} messages were disposed of.")

    _in_house(work)


# -- audit


@audit_app.command("list")
def audit_list(
    org: Annotated[str | None, typer.Option("--org")] = None,
    message: str | None = None,
    delivery: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> None:
    """Print events, oldest first. Reading the record is itself on record."""

    async def work(house: "House") -> None:
        from portal.audit.export import Export
        from portal.operator import audit_filter

        wanted = await audit_filter(house, _actor(), org, message, delivery, kind, since, until)
        export, rows = Export(house.db, house.source, _actor()), []
        async for one in export.lines(wanted, limit):
            detail = " ".join(f"{name}={value}" for name, value in one.detail.items())
            rows.append(
                (_time(one.at), one.kind, f"{one.who} {one.actor}", one.delivery_id or one.message_id or "", detail)
            )
        await export.done(wanted, len(rows), "list")
        _table(("when (UTC)", "event", "who", "about", "detail"), rows)

    _in_house(work)


@audit_app.command("export")
def audit_export(
    to: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    org: Annotated[str | None, typer.Option("--org")] = None,
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format")] = "jsonl",
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Write the record to a file, 0600. Reading the record is itself on record."""

    async def work(house: "House") -> None:
        from portal.operator import audit_filter, write_export

        wanted = await audit_filter(house, _actor(), org, None, None, None, since, until)
        rows = await write_export(house, _actor(), wanted, to, form)
        out.print(f"{rows} events are in {to}.", markup=False)

    _in_house(work)


# -- how things are shown


def _time(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def _table(columns: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> None:
    if not out.is_terminal:
        for row in rows:
            print("\t".join(row))  # rich would make spaces of the tabs
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    out.print(table, markup=False)


if __name__ == "__main__":
    main()
