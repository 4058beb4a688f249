"""Settings of chats, and what is stored about a person."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.feedback import right
from core.store.tables import ANSWERS, CHATS, FEEDBACK

__all__ = ["Chat", "ChatTable", "UserStats"]


@dataclass(frozen=True)
class Chat:
    """What a chat chose; None where it did not.

    Attributes:
        model: Name of the model that answers there.
        language: `en` or `nl`.
        keep_photos: Whether its photos may be kept with what is said of them.
    """

    model: str | None = None
    language: str | None = None
    keep_photos: bool = False


class UserStats(NamedTuple):
    """Numbers of a person's answers that are stored, of those judged, and of those judged right."""

    answers: int
    judged: int
    right: int


class ChatTable:
    """What chats chose, and what is stored about the people in them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, chat: int) -> Chat:
        """What a chat chose."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(CHATS).where(CHATS.c.chat == chat)).first()
        return Chat() if row is None else Chat(row.model, row.language, row.keep_photos)

    def set(self, chat: int, settings: Chat) -> None:
        """Keep what a chat chose."""
        values = asdict(settings)
        with self._database.write() as connection:
            done = connection.execute(sa.update(CHATS).where(CHATS.c.chat == chat).values(values))
            if done.rowcount == 0:
                connection.execute(sa.insert(CHATS).values(values | {"chat": chat}))

    def user_stats(self, person: str) -> UserStats:
        """Count the answers and judgements of a person that are still stored."""
        mine = sa.select(sa.func.count()).where(ANSWERS.c.person == person)
        said = sa.select(FEEDBACK.c.answer, FEEDBACK.c.verdict, FEEDBACK.c.truth)
        with self._database.read() as connection:
            n = connection.execute(mine).scalar_one()
            rows = connection.execute(said.where(FEEDBACK.c.person == person)).all()
        n_right = sum(right(row.answer, row.verdict, row.truth) for row in rows)
        return UserStats(n, len(rows), n_right)

    def forget(self, person: str, chats: Collection[int]) -> None:
        """Delete all that is kept of a person, and what chats of theirs chose."""
        with self._database.write() as connection:
            connection.execute(sa.delete(FEEDBACK).where(FEEDBACK.c.person == person))
            connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.person == person))
            connection.execute(sa.delete(CHATS).where(CHATS.c.chat.in_(chats)))
        self._database.scrub()
