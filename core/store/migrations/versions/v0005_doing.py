"""Add the bot that runs an operator's command, so that its next process finds interrupted ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; it stays empty for existing rows."""
    op.add_column("audit", sa.Column("doing", sa.BigInteger))
