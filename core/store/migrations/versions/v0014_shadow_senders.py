"""Add the table of the senders whose photos a shadow may compare."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "shadow_senders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("answer", sa.String(32), nullable=False, index=True),
        sa.Column("person", sa.String(64), index=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    )
