"""How often a bot began to handle an update and did not come to an end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; updates that wait count as never begun."""
    column = sa.Column("attempts", sa.Integer, nullable=False, server_default="0")
    op.add_column("inbox", column)
