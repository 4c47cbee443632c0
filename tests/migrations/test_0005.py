"""From 0003 to 0005 with rows in it: a draft's week begins at what is known of its last change."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from portal import paths
from portal.db.migrate import migrate
from tests.migrations.test_0001 import connected
from tests.migrations.test_0003 import _ROWS, _to_0002

pytestmark = pytest.mark.anyio

_REPLIES = (
    "INSERT INTO replies (id, org_id, message_id, delivery_id, state, size, begun_at) VALUES ('r', 'o', 'm', 'd', 'draft', 0, 7)",
    (
        "INSERT INTO replies (id, org_id, message_id, delivery_id, state, size, begun_at, submitted_at)"
        " VALUES ('s', 'o', 'm', 'd', 'queued', 3, 7, 9)"
    ),
)


def _to_0003(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0003_staff")


async def test_drafts_keep_their_time(empty_url: str) -> None:
    """An unsent reply changed when it was begun, a sent one when it was sent; neither has a saved text."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to_0002)
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.commit()
        await connection.run_sync(_to_0003)
        for row in _REPLIES:
            await connection.execute(text(row))
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        found = await connection.execute(text("SELECT id, changed_at, version FROM replies ORDER BY id"))
        assert [tuple(row) for row in found] == [("r", 7, None), ("s", 9, None)]
