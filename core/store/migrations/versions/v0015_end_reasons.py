"""Add why rollouts ended as a code with values, beside the English sentence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; of what has ended, only the sentence is known."""
    for table in ("audit", "rollouts"):
        op.add_column(table, sa.Column("cause", sa.JSON(none_as_null=True)))
