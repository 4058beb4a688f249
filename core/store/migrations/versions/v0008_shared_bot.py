"""Add what the processes of a bot share: pace of messages, and operators' commands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables, and the process of a command, which existing rows do not have."""
    op.create_table(
        "send_slots",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("times", sa.JSON, nullable=False),
    )
    op.add_column("audit", sa.Column("owner", sa.String(32)))
    op.create_table(
        "confirmations",
        sa.Column("key", sa.String(16), primary_key=True),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("seen", sa.JSON, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("result", sa.Text),
    )
