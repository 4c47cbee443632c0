"""Deliveries that may go out by the relay once their recipient's domain is safe, and classes that allow it.

Revision ID: 0009_graduation
"""

import sqlalchemy as sa
from alembic import op

revision = "0009_graduation"
down_revision = "0008_answers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policies", sa.Column("graduate", sa.Boolean(), server_default="0", nullable=False))
    op.create_table(
        "graduations",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("mark", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("came_by", sa.String(length=16), nullable=False),
        sa.Column("look_at", sa.BigInteger(), nullable=True),
        sa.Column("safe_at", sa.BigInteger(), nullable=True),
        sa.Column("safe_by", sa.String(length=16), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.Column("transcript_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("epoch_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_graduations_delivery_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_graduations_org_id"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_graduations_epoch_id"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_graduations"),
    )
    op.create_index("ix_graduations_mark", "graduations", ["mark"])
    due = sa.text("look_at IS NOT NULL")
    op.create_index("ix_graduations_look", "graduations", ["look_at"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
