"""What is typed in a reply is kept: a draft has a version, and the time of its last change, from which it is swept.

Revision ID: 0005_drafts
"""

import sqlalchemy as sa
from alembic import op

revision = "0005_drafts"
down_revision = "0004_scan"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("replies", sa.Column("version", sa.String(length=36), nullable=True))
    op.add_column("replies", sa.Column("changed_at", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE replies SET changed_at = COALESCE(submitted_at, begun_at)")
    op.drop_index("ix_replies_drafts", "replies")
    op.create_index("ix_replies_drafts", "replies", ["state", "changed_at"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
