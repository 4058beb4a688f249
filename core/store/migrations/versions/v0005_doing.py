"""Which bot is at what an operator told it: its next process knows what was broken off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; of what was begun before, nobody knows by which bot."""
    op.add_column("audit", sa.Column("doing", sa.BigInteger))
