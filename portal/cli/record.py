"""The record of who saw what."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portal.cli.shared import group, in_house, operator, operator_name, out, show_table, utc

if TYPE_CHECKING:
    from portal.assembly import House

audit_app = group()


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

        wanted = await audit_filter(house, operator_name(), org, message, delivery, kind, since, until)
        export, rows = Export(house.db, house.source, operator()), []
        async for one in export.lines(wanted, limit):
            detail = " ".join(f"{name}={value}" for name, value in one.detail.items())
            rows.append(
                (utc(one.at), one.kind, f"{one.who} {one.actor}", one.delivery_id or one.message_id or "", detail)
            )
        await export.done(wanted, len(rows), "list")
        show_table(("when (UTC)", "event", "who", "about", "detail"), rows)

    in_house(work)


@audit_app.command("export")
def audit_export(
    to: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    org: Annotated[str | None, typer.Option("--org")] = None,
    message: Annotated[str | None, typer.Option(help="Only what happened to the message with this id.")] = None,
    form: Annotated[Literal["jsonl", "csv"], typer.Option("--format")] = "jsonl",
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    """Write the record to a file, 0600. Reading the record is itself on record."""

    async def work(house: "House") -> None:
        from portal.operator import audit_filter, write_export

        wanted = await audit_filter(house, operator_name(), org, message, None, None, since, until)
        rows = await write_export(house, operator_name(), wanted, to, form)
        out.print(f"{rows} events are in {to}.", markup=False)

    in_house(work)
