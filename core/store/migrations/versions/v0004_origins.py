"""Where revisions came from, so that other machines with this database can bring them there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "origins",
        sa.Column("revision", sa.String(12), primary_key=True),
        sa.Column("repo", sa.Text, nullable=False),
        sa.Column("sha", sa.String(40), nullable=False),
    )
