"""From 0003 to 0006 with rows in it: relays stay trusted, organisations ask for TLS and nothing more."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from portal import paths
from portal.db.migrate import migrate
from tests.migrations.test_0001 import connected

pytestmark = pytest.mark.anyio

_ROWS = (
    (
        "INSERT INTO organisations (id, slug, name, address, phone, mail_from, language, kek_id, added_at)"
        " VALUES ('o', 'north', 'North', '', '', 'p@clinic.example', 'en', 'kek', 1)"
    ),
    "INSERT INTO relays (id, org_id, name, added_at) VALUES ('r', 'o', 'edge', 1)",
)


def _to_before(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0006_verdicts-1")


async def test_relays_that_are_there_stay_trusted(empty_url: str) -> None:
    """Nothing is probed, and nothing refused, until somebody says so."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to_before)
        for row in _ROWS:
            await connection.execute(text(row))
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        (relay,) = await connection.execute(text("SELECT id, mode FROM relays"))
        assert tuple(relay) == ("r", "trust")
        (org,) = await connection.execute(text("SELECT tls_level, portal_after_hours FROM organisations"))
        assert tuple(org) == ("encrypt", None)
