"""Why each delivery came here: verdicts, the way for single recipients and domains, and how a relay is listened to.

Revision ID: 0006_verdicts

Relays that are there keep being trusted, as they were; `portal relay mode` makes one an arbiter's. The release before can serve on
this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006_verdicts"
down_revision = "0003_staff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("delivery_id", sa.String(length=36), nullable=False),
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("rule", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("transcript_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("epoch_id", sa.String(length=36), nullable=True),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_verdicts_delivery_id"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_verdicts_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_verdicts_org_id"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_verdicts"),
    )
    op.create_table(
        "recipient_routes",
        sa.Column("org_id", sa.String(length=36), nullable=False),
        sa.Column("value_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("route", sa.String(length=8), nullable=False),
        sa.Column("value_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_id", sa.String(length=36), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_recipient_routes_epoch_id"),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name="fk_recipient_routes_org_id"),
        sa.PrimaryKeyConstraint("org_id", "value_hash", name="pk_recipient_routes"),
    )
    op.add_column(
        "organisations", sa.Column("tls_level", sa.String(length=8), server_default="encrypt", nullable=False)
    )
    op.add_column("organisations", sa.Column("portal_after_hours", sa.Integer(), nullable=True))
    op.add_column("relays", sa.Column("mode", sa.String(length=8), server_default="trust", nullable=False))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
