"""Add the bot's tables: updates, chats, answers, flags and audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "inbox",
        sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("chat", sa.BigInteger, index=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("done_at", moment, index=True),
    )
    op.create_table(
        "chats",
        sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(63)),
        sa.Column("language", sa.String(2)),
        sa.Column("keep_photos", sa.Boolean, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.String(16), primary_key=True),
        sa.Column("at", moment, nullable=False, index=True),
        sa.Column("person", sa.String(64), index=True),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("revision", sa.String(12), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
        sa.Column("judged", sa.Boolean, nullable=False),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("on", sa.Boolean, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", moment, nullable=False, index=True),
        sa.Column("operator", sa.String(64), nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
