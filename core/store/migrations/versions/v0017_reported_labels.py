"""Add the number of labels that an operator was last told by a digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column; the next digests are about all labels."""
    column = sa.Column("reported_labels", sa.Integer, nullable=False, server_default="0")
    op.add_column("digests", column)
