"""Database tables of the current schema version."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "ANSWERS",
    "AUDIT",
    "BOT_HOURS",
    "BOT_PROCESSES",
    "CHATS",
    "COMPARISONS",
    "CONFIRMATIONS",
    "DIGESTS",
    "DRIFT",
    "FEEDBACK",
    "HEAD",
    "INBOX",
    "LABEL_MESSAGES",
    "LANES",
    "LESSONS",
    "LESSON_PHOTOS",
    "LIVE",
    "NOTICES",
    "ORIGINS",
    "ROLLOUTS",
    "SEND_SLOTS",
    "SHADOW_SENDERS",
    "SWITCHES",
    "TABLES",
    "TRAFFIC",
]

HEAD = "0017"
"""The latest migration in migrations/versions."""

TABLES = sa.MetaData()
LIVE = sa.Table(
    "live",
    TABLES,
    sa.Column("model", sa.String(63), primary_key=True),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("last_good", sa.String(12)),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
)
ORIGINS = sa.Table(
    "origins",
    TABLES,
    sa.Column("revision", sa.String(12), primary_key=True),
    sa.Column("repo", sa.Text, nullable=False),
    sa.Column("sha", sa.String(40), nullable=False),
)
FEEDBACK = sa.Table(
    "feedback",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("front", sa.String(16), nullable=False),
    sa.Column("person", sa.String(64), index=True),
    sa.Column("model", sa.String(63), nullable=False),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(8), nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("truth", sa.Text, nullable=False),
    sa.Column("photo", sa.LargeBinary),
    sa.Column("photo_bytes", sa.Integer),
    # A covering index: usage is counted without reading the photos.
    sa.Index("ix_feedback_sizes", "person", "photo_bytes"),
)
INBOX = sa.Table(
    "inbox",
    TABLES,
    sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("chat", sa.BigInteger, index=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("payload", sa.Text),
    sa.Column("done_at", sa.DateTime(timezone=True), index=True),
    # Number of times that the bot started to handle the update and did not finish.
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    # Whether its user has since asked to delete their data.
    sa.Column("forgotten", sa.Boolean, nullable=False, server_default=sa.false()),
)
BOT_PROCESSES = sa.Table(
    "bot_processes",
    TABLES,
    sa.Column("owner", sa.String(32), primary_key=True),
    sa.Column("bot", sa.BigInteger, nullable=False),
    # The process counts as dead from then on, unless it has renewed its lease.
    sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
)
LANES = sa.Table(
    "lanes",
    TABLES,
    sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
    # 0 for an update that is handled alone.
    sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
    # 0 for the updates of a chat.
    sa.Column("update_id", sa.BigInteger, primary_key=True, autoincrement=False),
    # The process that handles these updates, while it is alive.
    sa.Column("owner", sa.String(32), index=True),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
)
SEND_SLOTS = sa.Table(
    "send_slots",
    TABLES,
    # All chats of a bot, or the keyed hash of one chat.
    sa.Column("key", sa.String(64), primary_key=True),
    # Seconds since the epoch.
    sa.Column("next_at", sa.Float, nullable=False),
    sa.Column("times", sa.JSON, nullable=False),
)
CONFIRMATIONS = sa.Table(
    "confirmations",
    TABLES,
    sa.Column("key", sa.String(16), primary_key=True),
    sa.Column("operator", sa.String(64), nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    # What the operator was shown, and the command depends on.
    sa.Column("seen", sa.JSON, nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("result", sa.Text),
)
CHATS = sa.Table(
    "chats",
    TABLES,
    sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", sa.String(63)),
    sa.Column("language", sa.String(2)),
    sa.Column("keep_photos", sa.Boolean, nullable=False),
    # Whether the user lets operators see and label photos.
    sa.Column("may_label", sa.Boolean, nullable=False, server_default=sa.false()),
)
ANSWERS = sa.Table(
    "answers",
    TABLES,
    sa.Column("key", sa.String(16), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("person", sa.String(64), index=True),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("model", sa.String(63), nullable=False),
    sa.Column("revision", sa.String(12), nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(8), nullable=False),
    sa.Column("scores", sa.JSON, nullable=False),
    sa.Column("judged", sa.Boolean, nullable=False),
    # Whether the sender lets operators see and label the photo.
    sa.Column("may_label", sa.Boolean, nullable=False, server_default=sa.false()),
    # Whether an operator has labelled or skipped the photo.
    sa.Column("labelled", sa.Boolean, nullable=False, server_default=sa.false()),
)
LABEL_MESSAGES = sa.Table(
    "label_messages",
    TABLES,
    sa.Column("bot", sa.BigInteger, primary_key=True, autoincrement=False),
    # The private chat of an operator.
    sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("message", sa.BigInteger, primary_key=True, autoincrement=False),
    # Key of the answer to the photo that the message shows; none if it is to be deleted.
    sa.Column("key", sa.String(16)),
    sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
    # When it last began to show another photo, or a button was pressed.
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
)
SWITCHES = sa.Table(
    "switches",
    TABLES,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("on", sa.Boolean, nullable=False),
)
AUDIT = sa.Table(
    "audit",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("operator", sa.String(64), nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column(
        "doing", sa.BigInteger
    ),  # id of the bot that runs the command, until its outcome is known
    # The process of the bot that runs it.
    sa.Column("owner", sa.String(32)),
    # Code and values of the reason for which TenSight ended a rollout.
    sa.Column("cause", sa.JSON(none_as_null=True)),
)
ROLLOUTS = sa.Table(
    "rollouts",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(63), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("candidate", sa.String(12), nullable=False),
    sa.Column("live", sa.String(12), nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("slow_ms", sa.Float, nullable=False),
    sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("outcome", sa.String(16)),
    sa.Column("reason", sa.Text),
    # The code and values of the reason, which versions before 0015 did not store.
    sa.Column("cause", sa.JSON(none_as_null=True)),
    # One rollout of a model at a time.
    sa.Index(
        "ix_rollouts_active",
        "model",
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
)
TRAFFIC = sa.Table(
    "rollout_traffic",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.Integer, nullable=False, index=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("candidate", sa.Integer, nullable=False),
    sa.Column("candidate_errors", sa.Integer, nullable=False),
    sa.Column("candidate_slow", sa.Integer, nullable=False),
    sa.Column("live", sa.Integer, nullable=False),
    sa.Column("live_errors", sa.Integer, nullable=False),
    sa.Column("live_slow", sa.Integer, nullable=False),
)
COMPARISONS = sa.Table(
    "shadow_comparisons",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("rollout", sa.Integer, nullable=False, index=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    # Recognises the live answer, and with it feedback on it, by its scores.
    sa.Column("answer", sa.String(32), nullable=False, index=True),
    sa.Column("live", sa.JSON, nullable=False),
    sa.Column("candidate", sa.JSON, nullable=False),
)
SHADOW_SENDERS = sa.Table(
    "shadow_senders",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    # Digest of the live answer, as in the comparisons.
    sa.Column("answer", sa.String(32), nullable=False, index=True),
    # Keyed hash of the photo's sender; none once they have asked to be forgotten.
    sa.Column("person", sa.String(64), index=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
)
DRIFT = sa.Table(
    "drift_hours",
    TABLES,
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("model", sa.String(63), primary_key=True),
    sa.Column("revision", sa.String(12), primary_key=True),
    # Each process counts in rows of its own.
    sa.Column("process", sa.String(16), primary_key=True),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("known_scores", sa.JSON, nullable=False),
    sa.Column("confidences", sa.JSON, nullable=False),
)
LESSONS = sa.Table(
    "lessons",
    TABLES,
    sa.Column("chat", sa.BigInteger, primary_key=True, autoincrement=False),
    # When it began, or the last photo was added.
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    # Keyed hash of the user who began it.
    sa.Column("teacher", sa.String(64)),
    # The taught model that learns more; none for a new one.
    sa.Column("model", sa.String(63)),
    # Class of photos without a caption.
    sa.Column("label", sa.Text),
    # Name of the new model, once it is being learned.
    sa.Column("title", sa.Text),
)
LESSON_PHOTOS = sa.Table(
    "lesson_photos",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("chat", sa.BigInteger, nullable=False),
    # Telegram's id of the content, the same for every sender.
    sa.Column("photo", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("person", sa.String(64), index=True),
    # Telegram's reference to download it with.
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Index("ix_lesson_photos_photo", "chat", "photo", unique=True),
)
NOTICES = sa.Table(
    "notices",
    TABLES,
    sa.Column("name", sa.String(32), primary_key=True),
    # When it may be sent again.
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
)
DIGESTS = sa.Table(
    "digests",
    TABLES,
    # Keyed hash of the operator who wants digests.
    sa.Column("operator", sa.String(64), primary_key=True),
    # Days between two of them.
    sa.Column("days", sa.Integer, nullable=False),
    # When the next one is due.
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    # Number of all labels when one of them last stated what they show.
    sa.Column("reported_labels", sa.Integer, nullable=False, server_default="0"),
)
BOT_HOURS = sa.Table(
    "bot_hours",
    TABLES,
    sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
    # Each process counts in rows of its own.
    sa.Column("process", sa.String(16), primary_key=True),
    sa.Column("verdicts", sa.JSON, nullable=False),
    sa.Column("seconds", sa.JSON, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
)
