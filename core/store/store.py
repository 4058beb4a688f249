"""Persistent state: live model revisions, user feedback and the bot's update queue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.settings import Settings
from core.store.audit import AuditLog
from core.store.chats import ChatTable
from core.store.database import Database
from core.store.drift import DriftTable
from core.store.feedback import FeedbackTable
from core.store.flags import Flags
from core.store.inbox import InboxTable
from core.store.live import LiveModels
from core.store.rollouts import RolloutTable
from core.store.tables import ANSWERS, COMPARISONS, INBOX

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
    chats: ChatTable
    audit: AuditLog
    flags: Flags
    rollouts: RolloutTable
    drift: DriftTable

    @classmethod
    def of(cls, database: Database) -> Store:
        """Create all parts over a database."""
        return cls(
            database,
            LiveModels(database),
            FeedbackTable(database),
            InboxTable(database),
            ChatTable(database),
            AuditLog(database),
            Flags(database),
            RolloutTable(database),
            DriftTable(database),
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
        """Delete stored answers, comparisons and updates from before a time, finished or not."""
        with self.database.write() as connection:
            connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.at < moment))
            connection.execute(sa.delete(COMPARISONS).where(COMPARISONS.c.at < moment))
            connection.execute(sa.delete(INBOX).where(INBOX.c.at < moment))
        self.database.scrub()
