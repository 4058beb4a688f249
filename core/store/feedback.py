"""Answers that people can judge, and the feedback they give."""

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
"""What a visitor says of a photo that shows none of the labels."""

MOST_PHOTOS = 10_000
"""Photos that are kept of visitors who agreed; so that nobody can fill the disk with them."""


@dataclass(frozen=True)
class Answered:
    """An answer that a chat may come back to.

    Attributes:
        person: Keyed hash of who sent the photo.
        file: What the photo can be fetched again by.
        model, revision, answer, verdict, scores: Of the prediction; `answer` is its label.
        judged: Whether somebody said that it is right, or wrong.
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
    """What a visitor says of an answer.

    Attributes:
        front: `page` or `bot`.
        model, revision, answer, verdict, scores: Of the prediction; `answer` is its label.
        truth: The label that is right, or `none`.
        person: Keyed hash of who says it; None where nobody is told from another.
        photo: JPEG without EXIF, as `to_archival_jpeg` makes it; None unless the visitor agreed.
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
        """Whether the answer was: its label, or that the photo shows none."""
        return right(self.answer, self.verdict, self.truth)


@dataclass(frozen=True)
class FeedbackStats:
    """How a revision of a model does on photos that visitors judged: `right` of `n`."""

    model: str
    revision: str
    n: int
    right: int


class FeedbackTable:
    """Answers that can be judged, and what people said of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Feedback) -> bool:
        """Keep what a visitor says; of photos `MOST_PHOTOS` at most.

        Returns:
            Whether the photo was kept too.
        """
        with self._database.write() as connection:
            return _insert_feedback(connection, feedback)

    def stats(self) -> list[FeedbackStats]:
        """How each revision of each model does, by model, the one last judged first."""
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
        """Number, truth and JPEG of every photo that was kept, the oldest first."""
        columns = (FEEDBACK.c.id, FEEDBACK.c.truth, FEEDBACK.c.photo)
        some = sa.select(*columns).where(FEEDBACK.c.photo.is_not(None)).order_by(FEEDBACK.c.id)
        last = 0
        while True:
            # Some at a time: all of them may be more than memory holds.
            with self._database.read() as connection:
                rows = connection.execute(some.where(FEEDBACK.c.id > last).limit(100)).all()
            if not rows:
                return
            for row in rows:
                yield row.id, row.truth, bytes(row.photo)
            last = rows[-1].id

    def add_answer(self, key: str, answer: Answered) -> None:
        """Keep an answer by a key of the caller's; of one that is there already, the first."""
        values = {**asdict(answer), "key": key, "at": datetime.now(UTC)}
        there = sa.select(ANSWERS.c.key).where(ANSWERS.c.key == key)
        with self._database.write() as connection:
            if connection.execute(there).first() is None:
                connection.execute(sa.insert(ANSWERS).values(values))

    def answer(self, key: str) -> Answered | None:
        """The answer of a key; None where there is none, or no more."""
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
        """Keep what somebody says of an answer, as `add` does.

        Returns:
            False where somebody did before, or the answer is gone.
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
    """Whether an answer was right: its label, or that the photo shows none of them."""
    return verdict == NONE if truth == NONE else verdict != NONE and answer == truth
