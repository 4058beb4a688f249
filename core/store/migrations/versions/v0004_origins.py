"""Add the Hub commits of revisions, so that machines that share the database can pull them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "origins",
        sa.Column("revision", sa.String(12), primary_key=True),
        sa.Column("repo", sa.Text, nullable=False),
        sa.Column("sha", sa.String(40), nullable=False),
    )
