"""Add the table of live revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "live",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("revision", sa.String(12), nullable=False),
        sa.Column("last_good", sa.String(12)),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
