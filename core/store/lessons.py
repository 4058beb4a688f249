"""Lessons in progress: the classes and photos with which chats teach the bot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from core.store.database import Database, in_utc
from core.store.dialects import insert
from core.store.tables import LESSON_PHOTOS, LESSONS

__all__ = ["Lesson", "LessonPhoto", "LessonTable"]


@dataclass(frozen=True)
class Lesson:
    """The lesson of a chat in progress.

    Attributes:
        teacher: Keyed hash of the user who began it.
        model: Id of the taught model to extend; None for a new one.
        label: Class of photos without a caption; None before the first caption.
        title: Name of the new model, once its training has started.
    """

    teacher: str | None
    model: str | None = None
    label: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class LessonPhoto:
    """A photo to learn from, which stays on Telegram's servers.

    Attributes:
        photo: Telegram's id of the content, the same whoever sends it again.
        file: Telegram's reference to download it with.
        label: Its class.
        person: Keyed hash of the sender.
        at: Time when it was sent.
    """

    photo: str
    file: str
    label: str
    person: str | None
    at: datetime


class LessonTable:
    """The tables of lessons and their photos.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, chat: int) -> Lesson | None:
        """Return the lesson of a chat; None if it has none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(LESSONS).where(LESSONS.c.chat == chat)).first()
        return None if row is None else Lesson(row.teacher, row.model, row.label, row.title)

    def begin(self, chat: int, lesson: Lesson) -> None:
        """Begin a lesson, unless the chat has one."""
        with self._database.write() as connection:
            new = insert(connection, LESSONS).values(
                chat=chat, at=datetime.now(UTC), teacher=lesson.teacher, model=lesson.model
            )
            connection.execute(new.on_conflict_do_nothing())

    def photos(self, chat: int) -> list[LessonPhoto]:
        """Return the photos of a chat's lesson, in the order in which they were added."""
        select = sa.select(LESSON_PHOTOS).where(LESSON_PHOTOS.c.chat == chat)
        with self._database.read() as connection:
            rows = connection.execute(select.order_by(LESSON_PHOTOS.c.id)).all()
        return [
            LessonPhoto(row.photo, row.file, row.label, row.person, in_utc(row.at)) for row in rows
        ]

    def add(self, chat: int, photos: Sequence[LessonPhoto]) -> None:
        """Add photos to a chat's lesson; one that it has already moves to its new class.

        Args:
            chat: The chat.
            photos: At least one; photos without a caption are of the class of the last one.
        """
        table = LESSON_PHOTOS
        with self._database.write() as connection:
            # Locks the lesson, so that two processes do not insert the same photo.
            change = sa.update(LESSONS).where(LESSONS.c.chat == chat)
            connection.execute(change.values(label=photos[-1].label, at=datetime.now(UTC)))
            for each in photos:
                same = (table.c.chat == chat) & (table.c.photo == each.photo)
                connection.execute(sa.delete(table).where(same))
                connection.execute(sa.insert(table).values(asdict(each) | {"chat": chat}))

    def set_title(self, chat: int, title: str) -> None:
        """Store the name of the model that is being trained on a chat's lesson."""
        change = sa.update(LESSONS).where(LESSONS.c.chat == chat).values(title=title)
        with self._database.write() as connection:
            connection.execute(change)

    def end(self, chat: int) -> None:
        """Delete a chat's lesson and the references to its photos."""
        with self._database.write() as connection:
            for table in (LESSON_PHOTOS, LESSONS):
                connection.execute(sa.delete(table).where(table.c.chat == chat))
        self._database.scrub()

    def move(self, chat: int, new_chat: int) -> None:
        """Pass the lesson of a chat to the chat that it became, unless that has one."""
        with self._database.write() as connection:
            new = sa.select(LESSONS).where(LESSONS.c.chat == new_chat)
            if connection.execute(new).first() is None:
                for table in (LESSONS, LESSON_PHOTOS):
                    change = sa.update(table).where(table.c.chat == chat).values(chat=new_chat)
                    connection.execute(change)
