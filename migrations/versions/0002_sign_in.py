"""What signing in is made of beside the emailed code: passkeys, second channels, recovery, addresses, and the tries on each.

Revision ID: 0002_sign_in

Everything is added, so the release before reads and writes this schema. Sessions under way count as emailed codes, which they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_sign_in"
down_revision = "0001_first"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _columns()
    _ways()
    _people()
    _guards()


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")


def _columns() -> None:
    op.add_column("codes", sa.Column("channel", sa.String(length=8), server_default="mail", nullable=False))
    op.add_column("codes", sa.Column("copy_of", sa.String(length=36), nullable=True))
    op.add_column("recipients", sa.Column("shared_at", sa.BigInteger(), nullable=True))
    op.add_column(
        "sessions", sa.Column("proofs", sa.String(length=200), server_default="emailed-code:1", nullable=False)
    )
    op.add_column("sessions", sa.Column("passkey_id", sa.String(length=36), nullable=True))
    op.add_column("sessions", sa.Column("member_id", sa.String(length=36), nullable=True))
    op.add_column("sessions", sa.Column("agent", sa.String(length=80), nullable=True))
    op.add_column("sessions", sa.Column("place", sa.String(length=80), nullable=True))
    op.add_column("sessions", sa.Column("proved_at", sa.BigInteger(), nullable=True))


def _ways() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("member_id", sa.String(length=36), nullable=True),
        sa.Column("credential_id", sa.LargeBinary(length=1023), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("transports", sa.String(length=100), nullable=False),
        sa.Column("name_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("vouched", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("suspect_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_passkeys_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_passkeys_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_passkeys_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_passkeys"),
        sa.UniqueConstraint("credential_id", name="uq_passkeys_credential_id"),
    )
    op.create_index("ix_passkeys_recipient_id", "passkeys", ["recipient_id"], unique=False)
    op.create_table(
        "ceremonies",
        sa.Column("challenge", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("bound_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=True),
        sa.Column("recipient_id", sa.String(length=36), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("challenge", name="pk_ceremonies"),
    )
    op.create_index("ix_ceremonies_made_at", "ceremonies", ["made_at"], unique=False)
    op.create_table(
        "access_codes",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("code_hash", sa.String(length=200), nullable=False),
        sa.Column("hint_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("epoch_id", sa.String(length=36), nullable=True),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_access_codes_delivery_id"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_access_codes_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_access_codes_org_id"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_access_codes"),
    )
    op.create_table(
        "phones",
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("number_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_phones_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_phones_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_phones_recipient_id"),
        sa.PrimaryKeyConstraint("recipient_id", name="pk_phones"),
    )
    op.create_table(
        "authenticators",
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("secret_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("vouched", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_authenticators_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_authenticators_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_authenticators_recipient_id"),
        sa.PrimaryKeyConstraint("recipient_id", name="pk_authenticators"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("code_hash", sa.String(length=200), nullable=False),
        sa.Column("vouched", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_recovery_codes_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_recovery_codes_recipient_id"),
        sa.PrimaryKeyConstraint("recipient_id", "slot", name="pk_recovery_codes"),
    )
    op.create_table(
        "recoveries",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("staff", sa.String(length=64), nullable=False),
        sa.Column("how", sa.String(length=200), nullable=False),
        sa.Column("code_hash", sa.String(length=200), nullable=False),
        sa.Column("stop_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("effective_at", sa.BigInteger(), nullable=False),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_recoveries_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_recoveries_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_recoveries"),
        sa.UniqueConstraint("stop_hash", name="uq_recoveries_stop_hash"),
    )
    op.create_index("ix_recoveries_recipient_id", "recoveries", ["recipient_id"], unique=False)


def _people() -> None:
    op.create_table(
        "members",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("name_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_members_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_members_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_members_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
    )
    op.create_index("ix_members_recipient_id", "members", ["recipient_id"], unique=False)
    op.create_table(
        "former_addresses",
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("address_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_former_addresses_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_former_addresses_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_former_addresses_recipient_id"),
        sa.PrimaryKeyConstraint("org_id", "address_hash", name="pk_former_addresses"),
    )
    op.create_index("ix_former_addresses_recipient_id", "former_addresses", ["recipient_id"], unique=False)
    op.create_table(
        "address_changes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("recipient_id", sa.String(length=36), nullable=False),
        sa.Column("session_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_address_changes_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_address_changes_org_id"),
        sa.ForeignKeyConstraint(["recipient_id"], ["recipients.id"], name="fk_address_changes_recipient_id"),
        sa.PrimaryKeyConstraint("id", name="pk_address_changes"),
    )
    op.create_index("ix_address_changes_recipient_id", "address_changes", ["recipient_id"], unique=False)


def _guards() -> None:
    op.create_table(
        "tries",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("in_all", sa.Integer(), nullable=False),
        sa.Column("in_window", sa.Integer(), nullable=False),
        sa.Column("window_from", sa.BigInteger(), nullable=False),
        sa.Column("closed_until", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_tries"),
    )
    op.create_table(
        "threads",
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("id_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("floor", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_threads_org_id"),
        sa.PrimaryKeyConstraint("org_id", "id_hash", name="pk_threads"),
    )
