"""From 0002 to 0003 with rows in it: deliveries learn their sender and class, relays keep their credentials."""

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
    "INSERT INTO org_domains (domain, org_id, added_at) VALUES ('clinic.example', 'o', 1)",
    "INSERT INTO epochs (id, org_id, kek_id, suite, wrapped, made_at) VALUES ('e', 'o', 'kek', 's', :raw, 1)",
    (
        "INSERT INTO policies (id, org_id, name, version, life_days, reminder_days, retention_days, reply_allowed, assurance, set_at)"
        " VALUES ('p', 'o', 'results', 3, 30, 5, 365, true, 1, 1)"
    ),
    "INSERT INTO relays (id, org_id, name, username, secret_hash, added_at, used_at) VALUES ('r', 'o', 'edge', 'user', :raw, 1, 7)",
    "INSERT INTO relays (id, org_id, name, fingerprint, added_at, disabled_at) VALUES ('r2', 'o', 'old', 'ab', 1, 9)",
    "INSERT INTO recipients (id, org_id, address_hash, address_sealed, epoch_id, added_at) VALUES ('a', 'o', :raw, :raw, 'e', 1)",
    (
        "INSERT INTO messages (id, org_id, relay_id, policy_id, size, sender_hash, sender_sealed, epoch_id, accepted_at, retain_until)"
        " VALUES ('m', 'o', 'r', 'p', 10, :raw, :raw, 'e', 1, 2)"
    ),
    (
        "INSERT INTO deliveries (id, org_id, message_id, recipient_id, state, needs, reply_allowed, accepted_at, expires_at)"
        " VALUES ('d', 'o', 'm', 'a', 'noticed', 1, true, 1, 1000000000000)"
    ),
    (
        "INSERT INTO deliveries (id, org_id, message_id, recipient_id, state, needs, reply_allowed, accepted_at, expires_at,"
        " opened_at) VALUES ('d2', 'o', 'm', 'a', 'opened', 1, true, 1, 1000000000000, 5)"
    ),
)


def _to_0002(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(paths.migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "0002_sign_in")


async def test_rows_are_carried_forward(empty_url: str) -> None:
    """Sender and class come from the message; the unread one will be warned of; a relay's credential keeps the relay's id."""
    async with connected(empty_url) as connection:
        await connection.run_sync(_to_0002)
        for row in _ROWS:
            await connection.execute(text(row), {"raw": b"\x01" * 32} if ":raw" in row else {})
        await connection.commit()
    await migrate(empty_url)
    async with connected(empty_url) as connection:
        found = await connection.execute(
            text("SELECT id, sender_hash, policy_name, warn_at FROM deliveries ORDER BY id")
        )
        day = 86_400_000_000
        assert [tuple(row) for row in found] == [
            ("d", b"\x01" * 32, "results", 1_000_000_000_000 - 3 * day),
            ("d2", b"\x01" * 32, "results", None),
        ]
        found = await connection.execute(
            text("SELECT id, relay_id, username, fingerprint, used_at, disabled_at FROM relay_credentials ORDER BY id")
        )
        assert [tuple(row) for row in found] == [("r", "r", "user", None, 7, None), ("r2", "r2", None, "ab", None, 9)]
        found = await connection.execute(text("SELECT id, name, disabled_at FROM relays ORDER BY id"))
        assert [tuple(row) for row in found] == [("r", "edge", None), ("r2", "old", 9)]
        (policy,) = await connection.execute(text("SELECT warn_days, unverified_notice, notice_language FROM policies"))
        assert (policy[0], bool(policy[1]), policy[2]) == (3, True, None)
        (domain,) = await connection.execute(text("SELECT proof FROM org_domains"))
        assert domain[0] == "operator"
