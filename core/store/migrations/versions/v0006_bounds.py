"""Add counts of unfinished attempts to updates, and the sizes of stored photos."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; existing updates have no attempts."""
    attempts = sa.Column("attempts", sa.Integer, nullable=False, server_default="0")
    op.add_column("inbox", attempts)
    op.add_column(
        "inbox", sa.Column("forgotten", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("feedback", sa.Column("photo_bytes", sa.Integer))
    op.execute("UPDATE feedback SET photo_bytes = length(photo) WHERE photo IS NOT NULL")
    op.create_index("ix_feedback_sizes", "feedback", ["person", "photo_bytes"])
