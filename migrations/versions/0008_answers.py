"""Replies that go to others of the message too, and new messages to an organisation, where these are allowed.

Revision ID: 0008_answers

Nothing is allowed until somebody says so; what was sent before is an answer, to its sender alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008_answers"
down_revision = "0007_the_way_back"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policies", sa.Column("reply_all", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("replies", sa.Column("left_out", sa.Integer(), server_default="0", nullable=False))
    op.add_column("replies", sa.Column("fresh", sa.Boolean(), server_default="0", nullable=False))
    op.add_column("organisations", sa.Column("contact", sa.String(length=320)))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
