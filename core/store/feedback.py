"""Answers that users can give feedback on, and that feedback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from core.store.database import Database
from core.store.tables import ANSWERS, FEEDBACK

__all__ = ["MOST_PHOTOS", "NONE", "Answered", "Feedback", "FeedbackStats", "FeedbackTable", "right"]


NONE = "none"
"""The true label of a photo that shows none of the labels."""

MOST_PHOTOS = 10_000
"""Maximum number of stored photos, so that nobody can fill the disk."""


@dataclass(frozen=True)
class Answered:
    """A stored answer, which the buttons under it refer to.

    Attributes:
        person: Keyed hash of the id of the photo's sender.
        file: Telegram file id, with which the photo can be downloaded again.
        model, revision, answer, verdict, scores: Fields of the prediction; `answer` is its label.
        judged: Whether feedback was given.
    """

    person: str | None
    file: str
    model: str
    revision: str
    answer: str
    verdict: str
    scores: Mapping[str, float]
    judged: bool = False


@dataclass(frozen=True)
class Feedback:
    """A user's feedback on an answer.

    Attributes:
        front: Where it was given, `page` or `bot`.
        model, revision, answer, verdict, scores: Fields of the prediction; `answer` is its label.
        truth: The true label, or `none`.
        person: Keyed hash of the user's id; None for anonymous feedback.
        photo: JPEG without EXIF data, the output of `to_archival_jpeg`; None without consent.
    """

    front: Literal["page", "bot"]
    model: str
    revision: str
    answer: str
    verdict: str
    scores: Mapping[str, float]
    truth: str
    person: str | None = None
    photo: bytes | None = None

    @property
    def right(self) -> bool:
        """Whether the answer was right, see `right`."""
        return right(self.answer, self.verdict, self.truth)


@dataclass(frozen=True)
class FeedbackStats:
    """Feedback counts of a revision: `right` of `n` answers were right."""

    model: str
    revision: str
    n: int
    right: int


class FeedbackTable:
    """The tables of stored answers and of feedback.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Feedback) -> bool:
        """Store feedback; its photo is dropped once `MOST_PHOTOS` are stored.

        Returns:
            Whether the photo was stored.
        """
        with self._database.write() as connection:
            return _insert_feedback(connection, feedback)

    def stats(self) -> list[FeedbackStats]:
        """Return the counts of each revision, sorted by model, then most recent feedback first."""
        columns = (FEEDBACK.c.model, FEEDBACK.c.revision)
        said = (FEEDBACK.c.answer, FEEDBACK.c.verdict, FEEDBACK.c.truth)
        counted = sa.func.count().label("n")
        last = sa.func.max(FEEDBACK.c.at).label("last")
        select = sa.select(*columns, *said, counted, last).group_by(*columns, *said)
        with self._database.read() as connection:
            rows = connection.execute(select.order_by(last.desc())).all()
        found: dict[tuple[str, str], FeedbackStats] = {}
        for row in rows:
            key = (row.model, row.revision)
            before = found.get(key, FeedbackStats(*key, 0, 0))
            n_right = row.n if right(row.answer, row.verdict, row.truth) else 0
            found[key] = FeedbackStats(*key, before.n + row.n, before.right + n_right)
        return sorted(found.values(), key=lambda each: each.model)

    def photos(self) -> Iterator[tuple[int, str, bytes]]:
        """Yield id, true label and JPEG content of every stored photo, oldest first."""
        columns = (FEEDBACK.c.id, FEEDBACK.c.truth, FEEDBACK.c.photo)
        some = sa.select(*columns).where(FEEDBACK.c.photo.is_not(None)).order_by(FEEDBACK.c.id)
        last = 0
        while True:
            # Rows are read in pages, since all photos together may exceed the memory.
            with self._database.read() as connection:
                rows = connection.execute(some.where(FEEDBACK.c.id > last).limit(100)).all()
            if not rows:
                return
            for row in rows:
                yield row.id, row.truth, bytes(row.photo)
            last = rows[-1].id

    def add_answer(self, key: str, answer: Answered) -> None:
        """Store an answer under a key; an answer that exists under the key is kept.

        Args:
            key: Key of at most 16 characters, chosen by the caller.
            answer: The answer.
        """
        values = {**asdict(answer), "key": key, "at": datetime.now(UTC)}
        there = sa.select(ANSWERS.c.key).where(ANSWERS.c.key == key)
        with self._database.write() as connection:
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(ANSWERS).values(values))

    def answer(self, key: str) -> Answered | None:
        """Return the answer stored under a key; None where there is none or it was deleted."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(ANSWERS).where(ANSWERS.c.key == key)).first()
        if row is None:
            return None
        return Answered(
            row.person,
            row.file,
            row.model,
            row.revision,
            row.answer,
            row.verdict,
            row.scores,
            row.judged,
        )

    def judge(self, key: str, feedback: Feedback) -> bool:
        """Store feedback on an answer, once.

        Args:
            key: Key of the answer.
            feedback: The feedback; see `add` for its photo.

        Returns:
            False where the answer already has feedback or was deleted; nothing is stored then.
        """
        first = (
            sa.update(ANSWERS)
            .where(ANSWERS.c.key == key, ANSWERS.c.judged.is_(False))
            .values(judged=True)
        )
        with self._database.write() as connection:
            if connection.execute(first).rowcount == 0:
                return False
            _insert_feedback(connection, feedback)
        return True


def _insert_feedback(connection: sa.Connection, feedback: Feedback) -> bool:
    photo = feedback.photo
    if photo is not None:
        kept = sa.select(sa.func.count()).where(FEEDBACK.c.photo.is_not(None))
        if connection.execute(kept).scalar_one() >= MOST_PHOTOS:
            photo = None
    values = {**asdict(feedback), "photo": photo, "at": datetime.now(UTC)}
    connection.execute(sa.insert(FEEDBACK).values(values))
    return photo is not None


def right(answer: str, verdict: str, truth: str) -> bool:
    """Return whether an answer was right.

    Args:
        answer: Predicted label.
        verdict: Verdict of the prediction.
        truth: True label, or `none`; for `none` the verdict `none` is right.
    """
    return verdict == NONE if truth == NONE else verdict != NONE and answer == truth
