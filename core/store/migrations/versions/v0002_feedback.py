"""Add the table of user feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "feedback",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("front", sa.String(16), nullable=False),
        sa.Column("person", sa.String(64), index=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("revision", sa.String(12), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("truth", sa.Text, nullable=False),
        sa.Column("photo", sa.LargeBinary),
    )
