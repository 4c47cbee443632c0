"""A message knows its thread, so that its answers' floor rises with its class.

Revision ID: 0010_threads

What is there already has its Message-ID sealed and stays without: a class raised later lifts no floor for it. The release before can
serve on this schema.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010_threads"
down_revision = "0009_graduation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("thread_hash", sa.LargeBinary(length=32), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("restore the backup from before; the portal never migrates down")
