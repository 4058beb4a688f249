"""Add the tables of the classifiers that chats are teaching."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the tables."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "lessons",
        sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", moment, nullable=False, index=True),
        sa.Column("teacher", sa.String(64)),
        sa.Column("model", sa.String(63)),
        sa.Column("label", sa.Text),
        sa.Column("title", sa.Text),
    )
    op.create_table(
        "lesson_photos",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("chat", sa.BigInteger, nullable=False),
        sa.Column("photo", sa.Text, nullable=False),
        sa.Column("at", moment, nullable=False, index=True),
        sa.Column("person", sa.String(64), index=True),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Index("ix_lesson_photos_photo", "chat", "photo", unique=True),
    )
