"""Mails that hang on no delivery, what senders want to hear of their messages (RFC 3461), and classes that allow read receipts.

Revision ID: 0007_the_way_back

Codes for the console and news for senders hung on some delivery that they had nothing to do with; they let go of it here. The release
before can't serve on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_the_way_back"
down_revision = "0006_verdicts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("outbox") as batch:
        batch.alter_column("delivery_id", existing_type=sa.String(length=36), nullable=True)
    op.execute("UPDATE outbox SET delivery_id = NULL WHERE kind IN ('staff-code', 'news')")
    op.add_column("policies", sa.Column("receipts", sa.Boolean(), server_default="0", nullable=False))
    op.create_table(
        "reports",
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("receipt", sa.Boolean(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_reports_epoch_id"),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name="fk_reports_message_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_reports_org_id"),
        sa.PrimaryKeyConstraint("message_id", name="pk_reports"),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
