"""Add the tables of rollouts, their evidence, and hourly statistics of answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("candidate", sa.String(12), nullable=False),
        sa.Column("live", sa.String(12), nullable=False),
        sa.Column("share", sa.Float, nullable=False),
        sa.Column("slow_ms", sa.Float, nullable=False),
        sa.Column("began_at", moment, nullable=False),
        sa.Column("ended_at", moment),
        sa.Column("outcome", sa.String(16)),
        sa.Column("reason", sa.Text),
    )
    is_active = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_rollouts_active",
        "rollouts",
        ["model"],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )
    counts = ("candidate", "candidate_errors", "candidate_slow", "live", "live_errors", "live_slow")
    op.create_table(
        "rollout_traffic",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, nullable=False, index=True),
        sa.Column("at", moment, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in counts),
    )
    op.create_table(
        "shadow_comparisons",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, nullable=False, index=True),
        sa.Column("at", moment, nullable=False, index=True),
        sa.Column("answer", sa.String(32), nullable=False, index=True),
        sa.Column("live", sa.JSON, nullable=False),
        sa.Column("candidate", sa.JSON, nullable=False),
    )
    op.create_table(
        "drift_hours",
        sa.Column("hour", moment, primary_key=True),
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("revision", sa.String(12), primary_key=True),
        sa.Column("process", sa.String(16), primary_key=True),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("known_scores", sa.JSON, nullable=False),
        sa.Column("confidences", sa.JSON, nullable=False),
    )
