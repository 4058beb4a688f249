"""Chat settings, and statistics and deletion of a user's data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import upsert
from core.store.digests import digest_notice
from core.store.feedback import LABEL, right
from core.store.shadow_senders import forget_comparisons
from core.store.tables import (
    ANSWERS,
    CHATS,
    CONFIRMATIONS,
    DIGESTS,
    FEEDBACK,
    LESSON_PHOTOS,
    LESSONS,
    NOTICES,
)

__all__ = ["Chat", "ChatTable", "UserStats"]


@dataclass(frozen=True)
class Chat:
    """Settings of a chat; None stands for the default.

    Attributes:
        model: Name of the model that answers in the chat.
        language: Code of its language, see `core.locale.LANGUAGES`.
        keep_photos: Whether the user agreed to store photos together with feedback on them.
        may_label: Whether the user lets operators see photos, and store them with labels.
    """

    model: str | None = None
    language: str | None = None
    keep_photos: bool = False
    may_label: bool = False


class UserStats(NamedTuple):
    """Counts of a user's stored data.

    Attributes:
        answers: Stored answers.
        judged: Stored feedback.
        right: Stored feedback that says the answer was right.
    """

    answers: int
    judged: int
    right: int


class ChatTable:
    """The table of chat settings, and what is stored about the chats' users.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, chat: int) -> Chat:
        """Return the settings of a chat; the defaults where none are stored."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(CHATS).where(CHATS.c.chat == chat)).first()
        return Chat() if row is None else _chat(row)

    def set(self, chat: int, settings: Chat) -> None:
        """Store the settings of a chat, replacing earlier ones."""
        with self._database.write() as connection:
            upsert(connection, CHATS, {"chat": chat}, asdict(settings))

    def all(self) -> dict[int, Chat]:
        """Return the settings of all chats that have some, by id."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(CHATS)).all()
        return {row.chat: _chat(row) for row in rows}

    def user_stats(self, person: str) -> UserStats:
        """Count the stored answers and feedback of a user.

        Args:
            person: Keyed hash of the user's id.
        """
        answered = sa.select(sa.func.count()).where(ANSWERS.c.person == person)
        judgements = sa.select(FEEDBACK.c.answer, FEEDBACK.c.verdict, FEEDBACK.c.truth)
        with self._database.read() as connection:
            n = connection.execute(answered).scalar_one()
            own_feedback = FEEDBACK.c.person == person, FEEDBACK.c.front != LABEL
            rows = connection.execute(judgements.where(*own_feedback)).all()
        n_right = sum(right(row.answer, row.verdict, row.truth) for row in rows)
        return UserStats(n, len(rows), n_right)

    def forget(self, person: str, chats: Collection[int]) -> None:
        """Delete a user's answers, feedback, comparisons and photos to learn from.

        An operator gets no digests any more, and the operator's questions that wait for a
        confirmation expire. The settings and lessons of chats are deleted, too.

        Args:
            person: Keyed hash of the user's id.
            chats: Ids of these chats.
        """
        with self._database.write() as connection:
            forget_comparisons(connection, person)
            connection.execute(sa.delete(FEEDBACK).where(FEEDBACK.c.person == person))
            connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.person == person))
            connection.execute(sa.delete(DIGESTS).where(DIGESTS.c.operator == person))
            claim = NOTICES.c.name == digest_notice(person)
            connection.execute(sa.delete(NOTICES).where(claim))
            connection.execute(sa.delete(CONFIRMATIONS).where(CONFIRMATIONS.c.operator == person))
            own_photos = LESSON_PHOTOS.c.person == person
            connection.execute(sa.delete(LESSON_PHOTOS).where(own_photos))
            # Lessons of groups continue.
            own_lessons = sa.update(LESSONS).where(LESSONS.c.teacher == person)
            connection.execute(own_lessons.values(teacher=None))
            for table in (LESSON_PHOTOS, LESSONS, CHATS):
                connection.execute(sa.delete(table).where(table.c.chat.in_(chats)))
        self._database.scrub()


def _chat(row: sa.Row[Any]) -> Chat:
    return Chat(row.model, row.language, row.keep_photos, row.may_label)
