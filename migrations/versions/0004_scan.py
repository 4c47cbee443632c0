"""The virus scanner: what a class asks of it, what it found in a message, and which deliveries it stopped; and previews by class.

Revision ID: 0004_scan

Only adds. Classes that are in force ask for a scan where a scanner is set, and allow previews; messages that are here already count as
never scanned.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004_scan"
down_revision = "0003_staff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policies", sa.Column("scan", sa.String(length=12), server_default="tried", nullable=False))
    op.add_column("policies", sa.Column("previews", sa.Boolean(), server_default="1", nullable=False))
    op.add_column("messages", sa.Column("scan", sa.String(length=12), nullable=True))
    op.add_column("messages", sa.Column("scan_said", sa.String(length=200), nullable=True))
    op.add_column("messages", sa.Column("rescan_at", sa.BigInteger(), nullable=True))
    waiting = sa.text("rescan_at IS NOT NULL")
    op.create_index("ix_messages_rescan", "messages", ["rescan_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.add_column("deliveries", sa.Column("previews", sa.Boolean(), server_default="1", nullable=False))
    op.add_column("deliveries", sa.Column("stopped", sa.String(length=12), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
