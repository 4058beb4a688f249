"""Persistent state: live model revisions, user feedback and the bot's update queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.settings import Settings
from core.store.activity import ActivityTable, purge_bot_hours
from core.store.audit import AuditLog
from core.store.chats import ChatTable
from core.store.confirmations import ConfirmationTable
from core.store.database import Database
from core.store.digests import DigestTable
from core.store.drift import DriftTable, purge_drift_hours
from core.store.feedback import FeedbackTable
from core.store.flags import Flags
from core.store.inbox import InboxTable
from core.store.label_messages import LabelMessageTable
from core.store.labels import LabelQueue
from core.store.lanes import LaneTable
from core.store.lessons import LessonTable
from core.store.live import LiveModels
from core.store.notices import NoticeTable, purge_notices
from core.store.page_visitors import forget_visitors
from core.store.rollout_evidence import RolloutEvidenceTable, purge_evidence
from core.store.rollouts import RolloutTable
from core.store.send_slots import SendSlotTable
from core.store.shadow_senders import ShadowSenderTable, purge_senders
from core.store.tables import (
    ANSWERS,
    CONFIRMATIONS,
    INBOX,
    LESSON_PHOTOS,
    LESSONS,
)

__all__ = ["Store"]


@dataclass(frozen=True)
class Store:
    """One object for each kind of state, over one database.

    Safe to share between threads, and between processes. Every method of every part raises
    StoreError if the database is not available.
    """

    database: Database
    live: LiveModels
    feedback: FeedbackTable
    inbox: InboxTable
    lanes: LaneTable
    chats: ChatTable
    audit: AuditLog
    flags: Flags
    slots: SendSlotTable
    confirmations: ConfirmationTable
    rollouts: RolloutTable
    rollout_evidence: RolloutEvidenceTable
    shadow_senders: ShadowSenderTable
    drift: DriftTable
    lessons: LessonTable
    notices: NoticeTable
    digests: DigestTable
    activity: ActivityTable
    labels: LabelQueue
    label_messages: LabelMessageTable

    @classmethod
    def of(cls, database: Database) -> Store:
        """Create all parts over a database."""
        return cls(
            database,
            LiveModels(database),
            FeedbackTable(database),
            InboxTable(database),
            LaneTable(database),
            ChatTable(database),
            AuditLog(database),
            Flags(database),
            SendSlotTable(database),
            ConfirmationTable(database),
            RolloutTable(database),
            RolloutEvidenceTable(database),
            ShadowSenderTable(database),
            DriftTable(database),
            LessonTable(database),
            NoticeTable(database),
            DigestTable(database),
            ActivityTable(database),
            LabelQueue(database),
            LabelMessageTable(database),
        )

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """Connect to the database of the settings, and create or migrate its tables if necessary.

        Raises:
            StoreError: As in `Database.open`.
        """
        return cls.of(Database.open(settings))

    @classmethod
    def find(cls, settings: Settings) -> Store | None:
        """Connect as `open` does; return None if there is no database yet.

        Raises:
            StoreError: As in `Database.open`.
        """
        database = Database.find(settings)
        return None if database is None else cls.of(database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()

    def purge_before(self, moment: datetime) -> None:
        """Delete answers, evidence, updates, confirmations and lessons from before a time.

        Hourly counts are deleted after 35 days, and notices once they may be sent again.
        """
        with self.database.write() as connection:
            connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.at < moment))
            _purge_rollouts(connection, moment)
            purge_bot_hours(connection)
            purge_notices(connection)
            connection.execute(sa.delete(INBOX).where(INBOX.c.at < moment))
            connection.execute(sa.delete(LESSON_PHOTOS).where(LESSON_PHOTOS.c.at < moment))
            connection.execute(sa.delete(LESSONS).where(LESSONS.c.at < moment))
            expired = CONFIRMATIONS.c.expires_at < moment
            connection.execute(sa.delete(CONFIRMATIONS).where(expired))
        self.database.scrub()

    def purge_rollouts_before(self, moment: datetime) -> None:
        """Delete only what processes without a bot keep: evidence, senders and drift."""
        with self.database.write() as connection:
            _purge_rollouts(connection, moment)
        self.database.scrub()


def _purge_rollouts(connection: sa.Connection, moment: datetime) -> None:
    purge_senders(connection, moment)
    purge_evidence(connection, moment)
    purge_drift_hours(connection)
    forget_visitors(connection)
