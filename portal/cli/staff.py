"""Staff: the first admin is invited here; all others by her, in the console."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.shared import Org, group, in_house, operator, out, show_table, utc
from portal.model.errors import InputRefused

if TYPE_CHECKING:
    from portal.assembly import House

staff_app, certificate_app = group(), group()


@staff_app.command("invite")
def staff_invite(
    address: str,
    org: Org,
    role: Annotated[str, typer.Option(help="sender, help-desk, admin or auditor.")] = "admin",
) -> None:
    """Make a link by which ADDRESS sets up a passkey: once, within 24 hours. Hand it over yourself; it is not mailed."""

    async def work(house: "House") -> None:
        from portal.model.staff import Role
        from portal.orgs.setup import Setup

        if role not in set(Role):
            raise InputRefused(f"Roles are {', '.join(Role)}.")
        found = await Setup(house.db, house.source, operator()).organisation(org)
        token = await house.staff_people().invite(found, address, Role(role), operator())
        out.print(f"{house.settings.console_base}/staff/invite/{token}", markup=False, soft_wrap=True)

    in_house(work)


@staff_app.command("list")
def staff_list(org: Org) -> None:
    """List an organisation's staff."""

    async def work(house: "House") -> None:
        from portal.orgs.setup import Setup

        found = await Setup(house.db, house.source, operator()).organisation(org)
        rows = await house.staff_people().every(found.id)
        show_table(
            ("id", "address", "role", "passkeys", "since", "shut out"),
            [(r.id, r.address, r.role.value, str(r.passkeys), utc(r.added_at), utc(r.disabled_at)) for r in rows],
        )

    in_house(work)


@certificate_app.command("key")
def certificate_key() -> None:
    """Print the key that certificates of disposition are checked by."""

    async def work(house: "House") -> None:
        out.print(house.note_signer().verifier, markup=False, soft_wrap=True)

    in_house(work)


@certificate_app.command("verify")
def certificate_verify(
    file: Path, key: Annotated[str, typer.Option(help="As `portal certificate key` prints it.")]
) -> None:
    """Check a certificate, without a portal: whether the holder of KEY signed just this text."""
    from portal.sealing.sign import verified

    try:
        text = verified(file.read_text(encoding="utf-8"), key)
    except OSError as error:
        raise InputRefused(f"{file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise InputRefused(f"Not good: {error}.") from None
    out.print(text, markup=False, end="", soft_wrap=True)
    out.print("The signature is good.")
