"""The first schema, and the audit log that can't be rewritten.

Revision ID: 0001_first
"""

import sqlalchemy as sa
from alembic import op

revision = "0001_first"
down_revision = None
branch_labels = None
depends_on = None

# What may only be added to. An SQLite row can also be rewritten by INSERT OR REPLACE, which fires no DELETE trigger.
_REFUSAL = "audit_events is append-only: a record is never changed or removed"
_SQLITE_TRIGGERS = (
    f"""
    CREATE TRIGGER audit_events_refuse_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
    f"""
    CREATE TRIGGER audit_events_refuse_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,
    f"""
    CREATE TRIGGER audit_events_refuse_replace BEFORE INSERT ON audit_events
    WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END
    """,  # noqa: S608 - the text is ours
)
_POSTGRESQL_TRIGGERS = (
    f"""
    CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END
    $$
    """,
    """
    CREATE TRIGGER audit_events_refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()
    """,
)


def upgrade() -> None:
    _parties()
    _messages()
    _doors()
    _replies()
    _work()
    _audit()
    _triggers()


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")


def _parties() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=400), nullable=False),
        sa.Column("phone", sa.String(length=60), nullable=False),
        sa.Column("mail_from", sa.String(length=320), nullable=False),
        sa.Column("language", sa.String(length=12), nullable=False),
        sa.Column("kek_id", sa.String(length=64), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
        sa.UniqueConstraint("slug", name="uq_organisations_slug"),
    )
    op.create_table(
        "org_domains",
        sa.Column("domain", sa.String(length=253), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_org_domains_org_id"),
        sa.PrimaryKeyConstraint("domain", name="pk_org_domains"),
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("life_days", sa.Integer(), nullable=False),
        sa.Column("reminder_days", sa.Integer(), nullable=True),
        sa.Column("retention_days", sa.Integer(), nullable=False),
        sa.Column("reply_allowed", sa.Boolean(), nullable=False),
        sa.Column("assurance", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_policies_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
    )
    op.create_index("uq_policies_version", "policies", ["org_id", "name", "version"], unique=True)
    op.create_table(
        "relays",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_relays_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_relays"),
        sa.UniqueConstraint("fingerprint", name="uq_relays_fingerprint"),
        sa.UniqueConstraint("username", name="uq_relays_username"),
    )
    op.create_table(
        "epochs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("kek_id", sa.String(length=64), nullable=False),
        sa.Column("suite", sa.String(length=64), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_epochs_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_epochs"),
    )
    op.create_index("ix_epochs_kek_id", "epochs", ["kek_id"], unique=False)
    op.create_table(
        "recipients",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_recipients_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_recipients_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_recipients"),
    )
    op.create_index("uq_recipients_address", "recipients", ["org_id", "address_hash"], unique=True)


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("relay_id", sa.String(length=36), nullable=False),
        sa.Column("policy_id", sa.String(length=36), nullable=False),
        sa.Column("blob_key", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("heading_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sender_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sender_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("attachments", sa.Integer(), nullable=True),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("retain_until", sa.BigInteger(), nullable=False),
        sa.Column("disposed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_messages_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_messages_org_id"),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name="fk_messages_policy_id"),
        sa.ForeignKeyConstraint(["relay_id"], ["relays.id"], name="fk_messages_relay_id"),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    op.create_index("ix_messages_list", "messages", ["org_id", "id"], unique=False)
    op.create_index("ix_messages_retention", "messages", ["disposed_at", "retain_until"], unique=False)
    op.create_index("ix_messages_sender", "messages", ["org_id", "sender_hash"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("needs", sa.Integer(), nullable=False),
        sa.Column("reply_allowed", sa.Boolean(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("remind_at", sa.BigInteger(), nullable=True),
        sa.Column("noticed_at", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("replied_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=200), nullable=True),
        sa.Column("notice_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("bounced_at", sa.BigInteger(), nullable=True),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=True),
        sa.Column("window_tries", sa.Integer(), nullable=True),
        sa.Column("window_from", sa.BigInteger(), nullable=True),
        sa.Column("closed_until", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_deliveries_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_deliveries_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_deliveries_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_expiry", "deliveries", ["state", "expires_at"], unique=False)
    op.create_index("ix_deliveries_inbox", "deliveries", ["recipient_id", "id"], unique=False)
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"], unique=False)
    op.create_index("ix_deliveries_reminder", "deliveries", ["remind_at"], unique=False)
    op.create_table(
        "received",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_received_delivery_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_received_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_received_recipient_id"),
        sa.PrimaryKeyConstraint("key", "recipient_id", name="pk_received"),
    )
    op.create_table(
        "grants",
        sa.Column("container_id", sa.String(length=36), nullable=False),
        sa.Column("reader", sa.String(length=12), nullable=False),
        sa.Column("reader_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_grants_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_grants_org_id"),
        sa.PrimaryKeyConstraint("container_id", "reader", "reader_id", name="pk_grants"),
    )
    op.create_index("ix_grants_epoch_id", "grants", ["epoch_id"], unique=False)
    op.create_table(
        "renditions",
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_renditions_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_renditions_org_id"),
        sa.PrimaryKeyConstraint("message_id", name="pk_renditions"),
    )
    op.create_table(
        "parts",
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("part_id", sa.String(length=12), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("blob_key", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_parts_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_parts_org_id"),
        sa.PrimaryKeyConstraint("message_id", "part_id", name="pk_parts"),
    )


def _doors() -> None:
    op.create_table(
        "links",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reference_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_links_delivery_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_links_org_id"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_links"),
        sa.UniqueConstraint("reference_hash", name="uq_links_reference_hash"),
    )
    op.create_index("ix_links_delivery_id", "links", ["delivery_id"], unique=False)
    op.create_table(
        "codes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reference", sa.String(length=8), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_codes_delivery_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_codes_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_codes"),
    )
    op.create_index("ix_codes_delivery", "codes", ["delivery_id", "made_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("assurance", sa.Integer(), nullable=False),
        sa.Column("method", sa.String(length=24), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_sessions_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_sessions_recipient_id"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sessions"),
    )
    op.create_index("ix_sessions_recipient_id", "sessions", ["recipient_id"], unique=False)


def _replies() -> None:
    op.create_table(
        "replies",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("text_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("submitted_at", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_replies_delivery_id"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_replies_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_replies_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_replies"),
    )
    op.create_index("ix_replies_delivery_id", "replies", ["delivery_id"], unique=False)
    op.create_index("ix_replies_drafts", "replies", ["state", "begun_at"], unique=False)
    op.create_table(
        "reply_files",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("reply_id", sa.String(length=36), nullable=False),
        sa.Column("blob_key", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("label_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_reply_files_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_reply_files_org_id"),
        sa.ForeignKeyConstraint(["reply_id"], ["replies.id"], name="fk_reply_files_reply_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reply_files"),
    )
    op.create_index("ix_reply_files_reply_id", "reply_files", ["reply_id"], unique=False)


def _work() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("subject_id", sa.String(length=36), nullable=True),
        sa.Column("epoch_id", sa.String(length=36), nullable=True),
        sa.Column("payload_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("return_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("give_up_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_holder", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("tls", sa.String(length=80), nullable=True),
        sa.Column("answer", sa.String(length=500), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_outbox_delivery_id"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_outbox_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_outbox_org_id"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("return_hash", name="uq_outbox_return_hash"),
    )
    op.create_index("ix_outbox_delivery_id", "outbox", ["delivery_id"], unique=False)
    op.create_index("ix_outbox_due", "outbox", ["state", "due_at"], unique=False)
    op.create_table(
        "throttles",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("window_from", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_throttles"),
    )


def _audit() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("who", sa.String(length=12), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("message_id", sa.String(length=36), nullable=True),
        sa.Column("delivery_id", sa.String(length=36), nullable=True),
        sa.Column("session", sa.String(length=64), nullable=True),
        sa.Column("origin", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_delivery", "audit_events", ["delivery_id", "id"], unique=False)
    op.create_index("ix_audit_events_org", "audit_events", ["org_id", "id"], unique=False)


def _triggers() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE_TRIGGERS if on_sqlite else _POSTGRESQL_TRIGGERS:
        op.execute(statement)
