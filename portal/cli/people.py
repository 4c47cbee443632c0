"""Persons and how they get in: phone numbers, sessions, and recovery by the help desk. Each look is on record."""

from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.shared import Org, group, in_house, operator_name, out, utc

if TYPE_CHECKING:
    from portal.assembly import House

person_app = group()
Address = Annotated[str, typer.Argument(help="The person's mail address, the present one or one before.")]


@person_app.command("show")
def person_show(address: Address, org: Org) -> None:
    """Show a person's ways in, open sessions and recoveries."""

    async def work(house: "House") -> None:
        from portal.operator import Persons

        for line in await Persons(house, operator_name()).show(org, address):
            out.print(line, markup=False, soft_wrap=True)

    in_house(work)


@person_app.command("phone")
def person_phone(
    address: Address, number: Annotated[str, typer.Argument(help="With + and the country's code.")], org: Org
) -> None:
    """Give a person's phone number, for codes by text or call."""

    async def work(house: "House") -> None:
        from portal.operator import Persons

        kept = await Persons(house, operator_name()).set_phone(org, address, number)
        out.print(f"Codes can go to {kept}.", markup=False)

    in_house(work)


@person_app.command("sign-out")
def person_sign_out(address: Address, org: Org) -> None:
    """End all sessions of a person."""

    async def work(house: "House") -> None:
        from portal.operator import Persons

        count = await Persons(house, operator_name()).end_sessions(org, address)
        out.print(f"{count} sessions were ended.", markup=False)

    in_house(work)


@person_app.command("recover")
def person_recover(
    address: Address,
    org: Org,
    how: Annotated[str, typer.Option(help="How you proofed the person: in-person, video, called-back or letter.")],
) -> None:
    """Begin a recovery: every known address is told and can stop it; after a delay all ways in but the mailbox are removed.

    Prints an access code for the person's ears: it is her second channel for two weeks from then on.
    """

    async def work(house: "House") -> None:
        from portal.operator import Persons

        begun = await Persons(house, operator_name()).recover(org, address, how)
        out.print(f"Takes effect at {utc(begun.effective_at)} UTC. {begun.told} addresses are told.", markup=False)
        out.print(f"Access code for the person, shown once: {begun.code}", markup=False)

    in_house(work)


@person_app.command("stop-recovery")
def person_stop_recovery(address: Address, org: Org) -> None:
    """Stop the recovery that is under way."""

    async def work(house: "House") -> None:
        from portal.operator import Persons

        stopped = await Persons(house, operator_name()).stop_recovery(org, address)
        out.print("It was stopped." if stopped else "There is no recovery to stop.", markup=False)

    in_house(work)
