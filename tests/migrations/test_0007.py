"""From 0003 to 0007 with rows in it: jobs that tell of no delivery let go of the one they hung on, the others keep theirs."""

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from portal import paths
from portal.db.migrate import migrate
from tests.migrations.test_0001 import connected
from tests.migrations.test_0003 import _ROWS

pytestmark = pytest.mark.anyio

_JOB = (
    "INSERT INTO outbox (id, org_id, kind, delivery_id, state, attempts, made_at, due_at, give_up_at)"
    " VALUES (:id, 'o', :kind, 'd', 'queued', 0, 1, 1, 2)"
)
_KINDS = {"1": "notice", "2": "staff-code", "3": "news", "4": "changed"}


def _to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


async def test_rows_are_carried_forward(empty_url: str) -> None:
    """Nothing is lost from the outbox, and classes allow no read receipts until somebody says so."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to, "0002_sign_in")
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.run_sync(_to, "0003_staff")
        for number, kind in _KINDS.items():
            await connection.execute(text(_JOB), {"id": number, "kind": kind})
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        found = await connection.execute(text("SELECT id, kind, delivery_id, state FROM outbox ORDER BY id"))
        assert [tuple(row) for row in found] == [
            (number, kind, "d" if kind in ("notice", "changed") else None, "queued") for number, kind in _KINDS.items()
        ]
        (policy,) = await connection.execute(text("SELECT receipts FROM policies"))
        assert not policy[0]
