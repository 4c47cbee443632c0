"""What Mallory can reach besides the site: the rows and the blobs. Tests change them here, past every rule of the house."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import RowMapping, Table, select, text, update

from portal.db import deliveries
from portal.db.deliveries import Delivery
from portal.db.tables import deliveries as deliveries_table
from portal.db.tables import metadata
from portal.model.ids import DeliveryId
from tests.world import World

Rows = dict[str, list[tuple[Any, ...]]]


async def dump(world: World, *, without: tuple[str, ...] = ("audit_events",)) -> Rows:
    """Every row of every table but those named."""
    found: Rows = {}
    async with world.house.db.read() as tx:
        for table in metadata.sorted_tables:
            if table.name not in without:
                found[table.name] = sorted((tuple(row) for row in await tx.rows(select(table))), key=repr)
    return found


async def rows(world: World, table: Table, **where: Any) -> list[RowMapping]:
    """Rows as mappings, in the order of their keys."""
    order = list(table.primary_key.columns)
    statement = select(table).filter_by(**where).order_by(*order)
    async with world.house.db.read() as tx:
        return [row._mapping for row in await tx.rows(statement)]


async def put(world: World, table: Table, values: Mapping[str, Any], **where: Any) -> None:
    """Changes rows behind the house's back."""
    async with world.house.db.bookkeeping() as tx:
        assert await tx.change(update(table).filter_by(**where).values(values))


async def run(world: World, sql: str) -> None:
    async with world.house.db.bookkeeping() as tx:
        await tx.change(text(sql))


async def delivery(world: World, delivery_id: str) -> Delivery:
    async with world.house.db.read() as tx:
        found = await deliveries.one(tx, DeliveryId(delivery_id))
    assert found is not None
    return found


async def all_deliveries(world: World) -> list[Delivery]:
    """Oldest first."""
    return [await delivery(world, row["id"]) for row in await rows(world, deliveries_table)]


def on_sqlite(world: World) -> bool:
    return world.house.settings.database_url.startswith("sqlite")


async def refuse_audit(world: World, kind: str) -> None:
    """From now on the database refuses to record events of this kind."""
    if on_sqlite(world):
        await run(
            world,
            f"CREATE TRIGGER refuse BEFORE INSERT ON audit_events WHEN NEW.kind = '{kind}' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
        return
    await run(
        world,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN IF NEW.kind = '{kind}' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$",
    )
    await run(world, "CREATE TRIGGER refuse BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse()")


def blobs(folder: Path) -> list[Path]:
    """Every committed blob and every one that was begun."""
    return sorted(path for path in (folder / "blobs").rglob("*") if path.is_file())


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.is_file()}


def holding(folder: Path, *canaries: bytes) -> list[Path]:
    """The files below a folder that have one of these words in them."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if any(canary in path.read_bytes() for canary in canaries)]


def blob(folder: Path, key: str) -> Path:
    return folder / "blobs" / key[-2:] / key


async def prepared(world: World) -> None:
    """Waits until what was accepted is prepared for reading."""
    await world.house.preparing.drain(10)


def plain(answer: httpx2.Response) -> tuple[Any, ...]:
    """An answer without what differs from one request to the next."""
    random = r'nonce="[^"]+"|name="csrf" value="[^"]+"|data-(?:csrf|ends-in|over-in)="[^"]+"|/(?:messages|step-up)/[\w./?=-]+'
    headers = {name: re.sub(r"nonce-[\w-]+", "", value) for name, value in answer.headers.items()}
    return answer.status_code, len(answer.content), re.sub(random, "", answer.text), headers
