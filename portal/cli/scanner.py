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
    insecure_localhost: Annotated[
        bool, typer.Option("--insecure-localhost", help="Take any certificate; for links to this machine only.")
    ] = False,
    chromium: Annotated[str, typer.Option(help="The browser for those that run one.")] = "/usr/bin/chromium",
) -> None:
    """Let imitated mail scanners loose on a link, and say which of them got in. Exit status 1 if any did."""
    from portal.scanner import run

    found = list(run(url, chromium=chromium, insecure_localhost=insecure_localhost))
    show_table(
        ("scanner", "what it does", "requests", "forms", "signed in", "verdict"),
        [
            (
                one.name,
                one.does,
                *(("", "", "") if one.note else (str(one.requests), str(one.forms), "YES" if one.got_in else "no")),
                one.verdict,
            )
            for one in found
        ],
    )
    inside, idle = [one.name for one in found if one.got_in], sum(bool(one.note) for one in found)
    if inside:
        refuse(f"got in: {', '.join(inside)}")
    out.print(f"{len(found) - idle} scanners were let loose, none got in; {idle} were not run.", markup=False)
