"""`portal scanner-check`: imitated mail scanners against a link."""

from typing import Annotated

import typer

from portal.cli.shared import out, refuse, show_table

app = typer.Typer()


@app.command("scanner-check")
def scanner_check(
    url: Annotated[
        str, typer.Argument(help="A link as a notice has it, of a message made for this: codes will be mailed.")
    ],
    chromium: Annotated[str, typer.Option(help="The browser for those that run one.")] = "/usr/bin/chromium",
) -> None:
    """Let imitated mail scanners loose on a link, and say which of them got in. Exit status 1 if any did."""
    from portal.scanner import run

    found = list(run(url, chromium=chromium))
    show_table(
        ("scanner", "what it does", "requests", "forms", "signed in"),
        [
            (one.name, one.does, str(one.requests), str(one.forms), one.note or ("YES" if one.signed_in else "no"))
            for one in found
        ],
    )
    if any(one.signed_in for one in found):
        refuse("a scanner got in")
    out.print(f"{sum(not one.note for one in found)} scanners were let loose, none got in.", markup=False)
