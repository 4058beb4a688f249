"""Add the tables of digests: who wants them, and what the bot did by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Create the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "digests",
        sa.Column("operator", sa.String(64), primary_key=True),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("due_at", moment, nullable=False),
    )
    op.create_table(
        "bot_hours",
        sa.Column("hour", moment, primary_key=True),
        sa.Column("process", sa.String(16), primary_key=True),
        sa.Column("verdicts", sa.JSON, nullable=False),
        sa.Column("seconds", sa.JSON, nullable=False),
        sa.Column("errors", sa.Integer, nullable=False),
    )
