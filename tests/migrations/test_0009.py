"""From 0003 to 0009 with rows in it: no class lets anything leave until somebody says so, and nothing that waits will."""

import pytest
from sqlalchemy import text

from portal.db.migrate import migrate
from tests.migrations.test_0001 import connected
from tests.migrations.test_0003 import _ROWS
from tests.migrations.test_0007 import _to

pytestmark = pytest.mark.anyio


async def test_nothing_graduates_unasked(empty_url: str) -> None:
    """What was accepted before has no row by which it could leave."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to, "0002_sign_in")
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        policies = await connection.execute(text("SELECT graduate FROM policies"))
        assert [bool(row[0]) for row in policies] == [False]
        assert not list(await connection.execute(text("SELECT delivery_id FROM graduations")))
