"""From 0003 to 0004 with rows in it: classes go on as they were, and what is here already counts as never scanned and readable."""

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
    "INSERT INTO epochs (id, org_id, kek_id, suite, wrapped, made_at) VALUES ('e', 'o', 'kek', 's', :raw, 1)",
    (
        "INSERT INTO policies (id, org_id, name, version, life_days, retention_days, reply_allowed, assurance, set_at)"
        " VALUES ('p', 'o', 'results', 3, 30, 365, true, 1, 1)"
    ),
    "INSERT INTO relays (id, org_id, name, added_at) VALUES ('r', 'o', 'edge', 1)",
    "INSERT INTO recipients (id, org_id, address_hash, address_sealed, epoch_id, added_at) VALUES ('a', 'o', :raw, :raw, 'e', 1)",
    (
        "INSERT INTO messages (id, org_id, relay_id, policy_id, size, sender_hash, sender_sealed, epoch_id, accepted_at, retain_until)"
        " VALUES ('m', 'o', 'r', 'p', 10, :raw, :raw, 'e', 1, 2)"
    ),
    (
        "INSERT INTO deliveries (id, org_id, message_id, recipient_id, state, needs, reply_allowed, sender_hash, policy_name,"
        " accepted_at, expires_at) VALUES ('d', 'o', 'm', 'a', 'opened', 1, true, :raw, 'results', 1, 1000000000000)"
    ),
)


def _to_0003(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0003_staff")


async def test_rows_are_carried_forward(empty_url: str) -> None:
    """A scan is tried where a scanner is set, previews are allowed, and nothing is stopped."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to_0003)
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        (policy,) = await connection.execute(text("SELECT scan, previews FROM policies"))
        assert (policy[0], bool(policy[1])) == ("tried", True)
        (message,) = await connection.execute(text("SELECT scan, scan_said, rescan_at FROM messages"))
        assert tuple(message) == (None, None, None)
        (delivery,) = await connection.execute(text("SELECT state, stopped, previews FROM deliveries"))
        assert (delivery[0], delivery[1], bool(delivery[2])) == ("opened", None, True)
