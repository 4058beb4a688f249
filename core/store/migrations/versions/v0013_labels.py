"""Add what the label queue needs: the users' consent, and which answers have a label."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the columns; nobody has agreed yet."""
    for table, name in (("chats", "may_label"), ("answers", "may_label"), ("answers", "labelled")):
        column = sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column(table, column)
