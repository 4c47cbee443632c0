"""Set up, serve, look after."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.shared import group, load_settings, out, refuse, run_async

if TYPE_CHECKING:
    pass

app, config_app = group(), group()


@app.command()
def init() -> None:
    """Make keyring, blob folder and database where the settings say. Refuses when there is a keyring already."""
    from portal.assembly import blob_store, keyring
    from portal.db.migrate import migrate

    settings = load_settings()
    keyring(settings).create()
    blob_store(settings).make()
    revision = run_async(migrate(settings.database_url, create=True))
    out.print(f"Made keyring, blob store and database (revision {revision}).")
    out.print("Back up the keyring now: without it nothing that is stored can be read. Next: portal org add")


@app.command()
def migrate() -> None:
    """Bring the database to this program's revision, and the keyring to its secrets. Rows and keys are carried forward."""
    from portal.assembly import keyring
    from portal.db.migrate import migrate as upgrade

    settings = load_settings()
    out.print(f"The database is at revision {run_async(upgrade(settings.database_url))}.")
    if made := keyring(settings).add_missing():
        out.print(f"The keyring got {', '.join(made)}.key: back it up.")


@app.command()
def serve(
    role: Annotated[
        list[str] | None, typer.Option(help="web, intake, worker or lookup; all of them when not given.")
    ] = None,
) -> None:
    """Serve until SIGTERM, which lets what is in flight finish."""
    from portal.serve import log_to_stderr
    from portal.serve import serve as serve_roles
    from portal.settings import ROLES

    settings = load_settings()
    unknown = sorted(set(role or ()) - set(ROLES))
    if unknown:
        refuse(f"no such role: {', '.join(unknown)}; roles are {', '.join(ROLES)}")
    log_to_stderr(settings.log_level)
    run_async(serve_roles(settings, [one for one in ROLES if not role or one in role]))


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Folder for database, blobs, keys and certificates.")] = Path("demo-data"),
    port: Annotated[int | None, typer.Option(min=1024, max=65532, help="First of four ports in a row.")] = None,
) -> None:
    """Start everything on this machine, with a demo clinic and a mailbox page, and send one message through it."""
    from portal.demo import Ports, run

    data = data.absolute()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_async(run(data, Ports.in_a_row(port) if port else Ports()))


@config_app.command("check")
def config_check() -> None:
    """Validate the settings without starting anything."""
    from portal.assembly import blob_store, keyring, submission
    from portal.db.engine import sqlite_path

    settings = load_settings()
    sqlite_path(settings.database_url)
    blob_store(settings)
    keyring(settings)
    submission(settings)
    out.print("The settings are sound.")


@app.command()
def doctor() -> None:
    """Look at all the portal stands on. Exit status 1 if something is wrong."""
    from portal.doctor import examine

    findings = run_async(examine(load_settings()))
    for one in findings:
        out.print(f"{'ok  ' if one.ok else 'BAD '} {one.name}: {one.said}", markup=False, soft_wrap=True)
    if not all(one.ok for one in findings):
        raise typer.Exit(1)
