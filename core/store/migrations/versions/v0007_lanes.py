"""Add the processes of a bot, and which of them handles the updates of which chat."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Updates that were stored without a chat are handled alone.
_OPEN_LANES = """
    INSERT INTO lanes (bot, chat, update_id, since)
    SELECT bot, COALESCE(chat, 0), CASE WHEN chat IS NULL THEN update_id ELSE 0 END, MIN(at)
    FROM inbox WHERE done_at IS NULL GROUP BY 1, 2, 3
"""


def upgrade() -> None:
    """Create the tables; unfinished updates are free for the next process."""
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "bot_processes",
        sa.Column("owner", sa.String(32), primary_key=True),
        sa.Column("bot", sa.BigInteger, nullable=False),
        sa.Column("alive_until", moment, nullable=False),
    )
    op.create_table(
        "lanes",
        sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.String(32), index=True),
        sa.Column("since", moment, nullable=False),
    )
    op.execute(_OPEN_LANES)
