"""Staff and their ways in, holds, certificates of disposition, and what an organisation sets: domains, relays, classes, look.

Revision ID: 0003_staff

A delivery now carries its sender's hash and its class, for staff to list by; both are copied from its message. A relay's credentials
move to a table of their own, so that two can be valid at once. The release before can't serve on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003_staff"
down_revision = "0002_sign_in"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _staff()
    _ends()
    _settings()
    _deliveries()
    _relays()


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")


def _staff() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=12), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("subject_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("news", sa.String(length=8), server_default="off", nullable=False),
        sa.Column("news_at", sa.BigInteger(), nullable=True),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_staff_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_staff_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_staff"),
    )
    op.create_index("uq_staff_address", "staff", ["org_id", "address_hash"], unique=True)
    op.create_index("uq_staff_subject", "staff", ["org_id", "subject_hash"], unique=True)
    op.create_table(
        "staff_invites",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("staff_id", sa.String(length=36), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_staff_invites_org_id"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="fk_staff_invites_staff_id"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_staff_invites"),
    )
    op.create_index("ix_staff_invites_staff_id", "staff_invites", ["staff_id"], unique=False)
    op.create_table(
        "staff_passkeys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("staff_id", sa.String(length=36), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(length=1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("transports", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_staff_passkeys_org_id"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="fk_staff_passkeys_staff_id"),
        sa.PrimaryKeyConstraint("id", name="pk_staff_passkeys"),
        sa.UniqueConstraint("credential_id", name="uq_staff_passkeys_credential_id"),
    )
    op.create_index("ix_staff_passkeys_staff_id", "staff_passkeys", ["staff_id"], unique=False)
    op.create_table(
        "staff_sessions",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("staff_id", sa.String(length=36), nullable=False),
        sa.Column("method", sa.String(length=24), nullable=False),
        sa.Column("agent", sa.String(length=80), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("proved_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_staff_sessions_org_id"),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name="fk_staff_sessions_staff_id"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_staff_sessions"),
    )
    op.create_index("ix_staff_sessions_staff_id", "staff_sessions", ["staff_id"], unique=False)
    op.create_table(
        "staff_codes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reference", sa.String(length=8), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_staff_codes_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_staff_codes"),
    )
    op.create_index("ix_staff_codes_address", "staff_codes", ["org_id", "address_hash", "made_at"], unique=False)
    op.create_index("ix_staff_codes_browser", "staff_codes", ["browser_hash"], unique=False)


def _ends() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("review_at", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=True),
        sa.Column("recipient_id", sa.String(length=36), nullable=True),
        sa.Column("sender_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("policy_name", sa.String(length=63), nullable=True),
        sa.Column("accepted_from", sa.BigInteger(), nullable=True),
        sa.Column("accepted_until", sa.BigInteger(), nullable=True),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.String(length=64), nullable=True),
        sa.Column("release_reason", sa.String(length=400), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_holds_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_holds_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_holds_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    held_by = ["org_id", "released_at", "message_id", "recipient_id", "sender_hash"]
    op.create_index("ix_holds_org", "holds", held_by, unique=False)
    op.create_table(
        "certificates",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_certificates_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_certificates"),
    )
    op.add_column("messages", sa.Column("uncertified_at", sa.BigInteger(), nullable=True))
    there = sa.text("disposed_at IS NULL")
    op.drop_index("ix_messages_retention", "messages")
    op.create_index("ix_messages_retention", "messages", ["retain_until"], sqlite_where=there, postgresql_where=there)
    op.create_index("ix_messages_uncertified", "messages", ["uncertified_at"], unique=False)
    op.create_index("ix_audit_events_actor", "audit_events", ["actor", "id"], unique=False)
    op.create_index("ix_audit_events_message", "audit_events", ["message_id", "id"], unique=False)


def _settings() -> None:
    op.create_table(
        "domain_claims",
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_domain_claims_org_id"),
        sa.PrimaryKeyConstraint("org_id", "domain", name="pk_domain_claims"),
    )
    op.create_table(
        "policy_rules",
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("value_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("policy_name", sa.String(length=63), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_policy_rules_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_policy_rules_org_id"),
        sa.PrimaryKeyConstraint("org_id", "value_hash", name="pk_policy_rules"),
    )
    op.add_column("org_domains", sa.Column("proof", sa.String(length=12), server_default="operator", nullable=False))
    op.add_column("organisations", sa.Column("host", sa.String(length=253), nullable=True))
    op.add_column("organisations", sa.Column("look", sa.String(length=24), nullable=True))
    op.add_column("organisations", sa.Column("accent", sa.String(length=7), nullable=True))
    op.add_column("organisations", sa.Column("logo", sa.LargeBinary(), nullable=True))
    op.add_column("organisations", sa.Column("notice_words", sa.Text(), nullable=True))
    op.add_column("organisations", sa.Column("device_bound", sa.Boolean(), server_default="0", nullable=False))
    with op.batch_alter_table("organisations") as batch:
        batch.create_unique_constraint("uq_organisations_look", ["look"])
        batch.create_unique_constraint("uq_organisations_host", ["host"])
    op.add_column("policies", sa.Column("warn_days", sa.Integer(), nullable=True))
    op.add_column("policies", sa.Column("notice_language", sa.String(length=12), nullable=True))
    op.add_column("policies", sa.Column("unverified_notice", sa.Boolean(), server_default="1", nullable=False))
    op.execute("UPDATE policies SET warn_days = 3")


def _deliveries() -> None:
    op.add_column("deliveries", sa.Column("sender_hash", sa.LargeBinary(length=32), nullable=True))
    op.add_column("deliveries", sa.Column("policy_name", sa.String(length=63), nullable=True))
    op.add_column("deliveries", sa.Column("warn_at", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE deliveries SET"
        " sender_hash = (SELECT m.sender_hash FROM messages m WHERE m.id = deliveries.message_id),"
        " policy_name = (SELECT p.name FROM messages m JOIN policies p ON p.id = m.policy_id WHERE m.id = deliveries.message_id),"
        " warn_at = CASE WHEN opened_at IS NULL AND state IN ('held', 'noticed')"
        " THEN expires_at - 3 * CAST(86400000000 AS BIGINT) END"
    )
    with op.batch_alter_table("deliveries") as batch:
        batch.alter_column("sender_hash", existing_type=sa.LargeBinary(length=32), nullable=False)
        batch.alter_column("policy_name", existing_type=sa.String(length=63), nullable=False)
    op.create_index("ix_deliveries_class", "deliveries", ["org_id", "policy_name", "state", "id"], unique=False)
    op.create_index("ix_deliveries_sender", "deliveries", ["org_id", "sender_hash", "id"], unique=False)
    sender_class = ["org_id", "sender_hash", "policy_name", "state", "id"]
    op.create_index("ix_deliveries_sender_class", "deliveries", sender_class, unique=False)
    op.create_index("ix_deliveries_org", "deliveries", ["org_id", "id"], unique=False)
    searched = ["org_id", "id", "sender_hash", "policy_name", "state"]
    unread = "state = 'expired' AND opened_at IS NULL"
    for name, which, columns in (
        ("ix_deliveries_asked", "asked_at IS NOT NULL", [*searched, "asked_at"]),
        ("ix_deliveries_bounced", "bounced_at IS NOT NULL", [*searched, "bounced_at"]),
        ("ix_deliveries_not_noticed", "notice_failed_at IS NOT NULL", [*searched, "notice_failed_at"]),
        ("ix_deliveries_unread", unread, ["org_id", "id"]),
        ("ix_deliveries_unread_sender", unread, ["org_id", "sender_hash", "id"]),
    ):
        lite = sa.text(which.replace("state =", "+state ="))
        op.create_index(name, "deliveries", columns, unique=False, sqlite_where=lite, postgresql_where=sa.text(which))
    op.create_index("ix_deliveries_warning", "deliveries", ["warn_at"], unique=False)


def _relays() -> None:
    """The first credential of a relay keeps the relay's own id: connections that stand go on."""
    op.create_table(
        "relay_credentials",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("relay_id", sa.String(length=36), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_from", sa.String(length=64), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_relay_credentials_org_id"),
        sa.ForeignKeyConstraint(["relay_id"], ["relays.id"], name="fk_relay_credentials_relay_id"),
        sa.PrimaryKeyConstraint("id", name="pk_relay_credentials"),
        sa.UniqueConstraint("fingerprint", name="uq_relay_credentials_fingerprint"),
        sa.UniqueConstraint("username", name="uq_relay_credentials_username"),
    )
    op.create_index("ix_relay_credentials_relay_id", "relay_credentials", ["relay_id"], unique=False)
    op.create_table(
        "relay_domains",
        sa.Column("relay_id", sa.String(length=36), nullable=False),
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_relay_domains_org_id"),
        sa.ForeignKeyConstraint(["relay_id"], ["relays.id"], name="fk_relay_domains_relay_id"),
        sa.PrimaryKeyConstraint("relay_id", "domain", name="pk_relay_domains"),
    )
    op.execute(
        "INSERT INTO relay_credentials (id, org_id, relay_id, username, secret_hash, fingerprint, added_at, used_at, disabled_at)"
        " SELECT id, org_id, id, username, secret_hash, fingerprint, added_at, used_at, disabled_at FROM relays"
    )
    with op.batch_alter_table("relays") as batch:
        batch.drop_constraint("uq_relays_fingerprint", type_="unique")
        batch.drop_constraint("uq_relays_username", type_="unique")
        batch.drop_column("used_at")
        batch.drop_column("username")
        batch.drop_column("secret_hash")
        batch.drop_column("fingerprint")
