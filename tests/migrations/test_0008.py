"""From 0007 to 0008 with rows in it: what was sent is an answer as before; nobody else is answered, and no new message taken."""

import pytest
from sqlalchemy import text

from portal.db.migrate import migrate
from tests.migrations.test_0001 import connected
from tests.migrations.test_0003 import _ROWS
from tests.migrations.test_0007 import _to

pytestmark = pytest.mark.anyio

_REPLY = (
    "INSERT INTO replies (id, org_id, message_id, delivery_id, state, text_sealed, size, begun_at, changed_at)"
    " VALUES ('w', 'o', 'm', 'd', 'handed-over', :raw, 5, 3, 3)"
)


async def test_rows_are_carried_forward(empty_url: str) -> None:
    """A reply keeps its message and its sealed text."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to, "0002_sign_in")
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.run_sync(_to, "0007_the_way_back")
        await connection.execute(text(_REPLY), {"raw": b"\x01" * 32})
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        found = await connection.execute(
            text("SELECT id, message_id, delivery_id, state, text_sealed, left_out, fresh FROM replies")
        )
        assert [tuple(row) for row in found] == [("w", "m", "d", "handed-over", b"\x01" * 32, 0, False)]
        (policy,) = await connection.execute(text("SELECT reply_all FROM policies"))
        assert not policy[0]
        (org,) = await connection.execute(text("SELECT contact FROM organisations"))
        assert org[0] is None
