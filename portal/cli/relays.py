"""What a mail admin does at the relay: its configuration, who would come here, is it right, the queue agent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.organisations import relay_app
from portal.cli.shared import Org, in_house, operator, operator_name, out, show_table

__all__ = ["relay_app"]

if TYPE_CHECKING:
    from portal.assembly import House
    from portal.relay.replay import Counts, Replay


@relay_app.command("replay")
def relay_replay(
    log: Annotated[Path, typer.Argument(help="A Postfix log, packed by gzip or not.")],
    without: Annotated[
        list[str] | None, typer.Option(help="A domain to leave out, such as your own. May be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many domains to show.")] = 50,
) -> None:
    """Say from a Postfix log who would have come here, by domain, under each policy. Nothing private is shown but domains."""
    from portal.relay.replay import replay

    found = replay(log, without or ())
    ranked = found.ranked()
    columns = (
        "domain",
        "encrypt",
        "verify",
        "verified",
        "trusted",
        "other TLS",
        "in clear",
        "no TLS",
        "waits",
        "bounced",
    )
    rows = [_row(name, counts) for name, counts in [("all", found.total), *ranked[:limit]]]
    show_table(columns, rows)
    for line in _remarks(found, len(ranked) - limit):
        out.print(line, markup=False, soft_wrap=True)


def _row(name: str, counts: "Counts") -> tuple[str, ...]:
    each = (
        counts.encrypt,
        counts.verify,
        counts.verified,
        counts.trusted,
        counts.tls,
        counts.clear,
        counts.no_tls,
        counts.deferred,
        counts.bounced,
    )
    return (name, *map(str, each))


def _remarks(found: "Replay", more: int) -> list[str]:
    said = [
        "",
        "Each number is recipients. Under `encrypt` the first column would have come here, under `verify` the second.",
        "`trusted`: a known authority signed the certificate; whether the name is right this log does not show.",
        "`waits`: greylisting, hosts that are down. An arbiter lets it wait; a relay of mode `trust` brings it here.",
    ]
    if not found.deliveries:
        said.append("There is no delivery by Postfix's smtp in this file.")
    elif not found.saw_tls:
        said.append(
            "No TLS connection is in this file: Postfix logs them with smtp_tls_loglevel = 1, and speaks TLS with"
            " smtp_tls_security_level = may or more. Set both, and come back with the log of a week."
        )
    if more > 0:
        said.append(f"{more} more domains: --limit shows them.")
    if found.unread:
        said.append(f"{found.unread} lines were too long to be Postfix's, and passed over.")
    if found.cut_off:
        said.append(f"The file is torn: what follows line {found.lines} could not be read.")
    if found.forgot:
        said.append("More mails waited at once than are kept in mind: some that were sent later count twice.")
    return said


@relay_app.command("agent")
def relay_agent() -> None:
    """Print the queue agent for Postfix hosts: one file for Python 3.9 or later. `portal relay agent > portal-agent.py`."""
    from portal.relay import agent

    print(Path(agent.__file__).read_text(encoding="utf-8"), end="")


@relay_app.command("doctor")
def relay_doctor(
    org: Org,
    sender: Annotated[str, typer.Option("--from", help="A sender of the organisation, whose mail the trial is.")],
    relay: Annotated[str, typer.Option(help="The relay, host:port; it must relay for this machine.")] = "localhost:25",
    domain: Annotated[
        str, typer.Option(help="Under it are the trial's recipients: clear.DOMAIN and so on.")
    ] = "doctor.invalid",
    address: Annotated[
        list[str] | None, typer.Option(help="Where the trial's mail hosts listen: one, or six with MX records.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65530, help="With one address the first of six ports in a row.")
    ] = 2025,
    to: Annotated[
        list[str] | None, typer.Option(help="CASE=ADDRESS: a real mailbox instead of mail hosts of the doctor's own.")
    ] = None,
    level: Annotated[str, typer.Option(help="What the relay is to enforce: encrypt or verify.")] = "encrypt",
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file with a certificate the relay trusts, for `tls`.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file with its key.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long to look.")] = 30.0,
    show_plan: Annotated[bool, typer.Option("--plan", help="Only print what the relay needs for the trial.")] = False,
) -> None:
    """Send trial mail through your relay, and see which went where and what to change. Exit status 1 if something is wrong."""
    from portal.model.errors import InputRefused
    from portal.model.routes import Level
    from portal.relay.doctor import Trial, examine, plan

    host, _, relay_port = relay.rpartition(":")
    if not host or not relay_port.isdigit() or level not in set(Level) or (certificate is None) != (key is None):
        raise InputRefused("Write --relay host:port, --level encrypt or verify, and --certificate with --key.")
    trial = Trial(
        org,
        sender,
        (host.strip("[]"), int(relay_port)),
        Level(level),
        domain,
        tuple(address or ("127.0.0.1",)),
        port,
        dict(one.partition("=")[::2] for one in to or ()),
        (certificate, key) if certificate and key else None,
        seconds,
    )
    if show_plan:
        for line in plan(trial):
            out.print(line, markup=False, soft_wrap=True)
        return

    async def work(house: "House") -> bool:
        import secrets

        from portal.operator import Operator

        found = await examine(Operator(house, operator_name()), trial, secrets.token_hex(4))
        rows = [("ok" if one.ok else "BAD", one.case, one.about, one.expected, one.seen, one.change) for one in found]
        show_table(("", "case", "mail host", "expected", "seen", "what to change"), rows)
        return all(one.ok for one in found)

    if not in_house(work):
        raise typer.Exit(1)


_MODES = {"postfix": "arbiter", "postfix-lookup": "arbiter", "postfix-secure": "explicit", "exim": "arbiter"}
"""How a relay of a recipe is listened to; the others bring only what belongs here."""


@relay_app.command("config")
def relay_config(
    kind: Annotated[
        str, typer.Argument(help="postfix, postfix-lookup, postfix-map, postfix-agent, postfix-secure, exim, ...")
    ],
    org: Org,
    add: Annotated[
        str, typer.Option(help="Make a relay of this name, in the mode that fits, with its password filled in.")
    ] = "",
) -> None:
    """Print the ready configuration of a relay, as docs/RELAY.md has it, with this portal's and the organisation's names."""
    from portal.model.errors import InputRefused
    from portal.orgs.recipe import KINDS

    if kind not in KINDS:
        raise InputRefused(f"There are recipes for {', '.join(KINDS)}.")

    async def work(house: "House") -> None:
        from portal.orgs.fallback import fingerprint_of
        from portal.orgs.recipe import Names, recipe
        from portal.orgs.setup import Setup

        found, fallback = await Setup(house.db, house.source, operator()).organisation(org), house.fallback(operator())
        made = await fallback.add_relay(found, add, None, _MODES.get(kind, "trust")) if add else None
        state, settings = await fallback.state(found), house.settings
        known = [one.username for one in state.credentials if one.username and not one.disabled_at]
        names = Names(
            settings.smtp_hostname or settings.base_host,
            settings.smtp_listen.rpartition(":")[2],
            settings.return_domain,
            found.mail_from,
            tuple(one.domain for one in state.domains) or ("clinic.example",),
            (made.row.username if made else next(reversed(known), None)) or "USERNAME",
            (made.password if made else None) or "PASSWORD",
        )
        for block in recipe(kind, names):
            print(f"### {block.file}\n{block.text}")
        if settings.smtp_certificate:
            pin = fingerprint_of(settings.smtp_certificate.read_text(encoding="ascii")).upper()
            print(f"### The portal's certificate, SHA-256: {':'.join(pin[at : at + 2] for at in range(0, 64, 2))}")

    in_house(work)
