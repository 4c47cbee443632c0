"""Replies that go to others of the message too, where its class allows it.

Revision ID: 0008_answers

Classes allow it only once somebody says so; what was sent before went to its sender alone.
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


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
