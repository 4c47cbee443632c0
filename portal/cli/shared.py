"""What the commands share: settings, a house to work in, and how things are shown."""

import getpass
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from portal.assembly import House
    from portal.model.events import By
    from portal.settings import Settings

T = TypeVar("T")
out, err = Console(highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)

Org = Annotated[str, typer.Option("--org", help="The organisation's short name.")]


def group() -> typer.Typer:
    """Commands of one noun."""
    return typer.Typer(no_args_is_help=True)


def refuse(text: str) -> NoReturn:
    err.print(f"portal: {text}", markup=False)
    sys.exit(1)


def load_settings() -> "Settings":
    from portal.settings import load

    return load()


def run_async(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    return uvloop.run(work)


def in_house(work: "Callable[[House], Coroutine[Any, Any, T]]") -> T:
    async def inside() -> T:
        from portal.assembly import open_house

        async with open_house(load_settings()) as house:
            return await work(house)

    return run_async(inside())


def operator_name() -> str:
    return getpass.getuser()[:64]


def operator() -> "By":
    """Who acts at the command line, for the record."""
    from portal.model.events import By, Who

    return By(Who.OPERATOR, operator_name())


def utc(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def show_table(columns: tuple[str, ...], rows: "Sequence[tuple[str, ...]]") -> None:
    if not out.is_terminal:
        for row in rows:
            print("\t".join(row))  # rich would make spaces of the tabs
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    out.print(table, markup=False)
