"""Answers that people can judge, and the feedback they give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.tables import ANSWERS, FEEDBACK

__all__ = [
    "NONE",
    "Answered",
    "Bounds",
    "Feedback",
    "FeedbackStats",
    "FeedbackTable",
    "Kept",
    "right",
]

# Of a model with a thousand labels; the most probable ones.
_MAX_SCORES = 100

NONE = "none"
"""What a visitor says of a photo that shows none of the labels."""


@dataclass(frozen=True)
class Bounds:
    """How much is kept, so that nobody can fill the disk, nor the share of others.

    Of one person, and in all. Who is not told from others (`person` is None) counts in all alone.
    Answers beyond a bound take the place of the oldest; feedback is refused.

    Attributes:
        feedback, person_feedback: Judgements.
        photos, person_photos: Photos that are kept with them.
        photo_bytes, person_photo_bytes: Bytes of these photos.
        answers, person_answers: Answers that can still be judged.
    """

    feedback: int = 200_000
    person_feedback: int = 5_000
    photos: int = 10_000
    person_photos: int = 500
    photo_bytes: int = 2 * 2**30
    person_photo_bytes: int = 128 * 2**20
    answers: int = 100_000
    person_answers: int = 1_000


class Kept(NamedTuple):
    """Whether a judgement was kept, and the photo with it."""

    feedback: bool
    photo: bool


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

    def __init__(self, database: Database, bounds: Bounds | None = None) -> None:
        self._database = database
        self._bounds = bounds or Bounds()

    def add(self, feedback: Feedback) -> Kept:
        """Keep what a visitor says, within the bounds."""
        with self._database.write() as connection:
            return self._insert(connection, feedback)

    def _insert(self, connection: sa.Connection, feedback: Feedback) -> Kept:
        bounds, photo = self._bounds, feedback.photo
        everybody = _usage(connection, None)
        person = _Usage(0, 0, 0)
        if feedback.person is not None:
            person = _usage(connection, feedback.person)
        if everybody.rows >= bounds.feedback or person.rows >= bounds.person_feedback:
            return Kept(feedback=False, photo=False)
        if photo is not None and not (
            everybody.photos < bounds.photos
            and everybody.photo_bytes + len(photo) <= bounds.photo_bytes
            and person.photos < bounds.person_photos
            and person.photo_bytes + len(photo) <= bounds.person_photo_bytes
        ):
            photo = None
        values = asdict(feedback) | {
            "scores": _most_probable(feedback.scores),
            "photo": photo,
            "photo_bytes": None if photo is None else len(photo),
            "at": datetime.now(UTC),
        }
        connection.execute(sa.insert(FEEDBACK).values(values))
        return Kept(feedback=True, photo=photo is not None)

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
        """Keep an answer by a key of the caller's; of one that is there already, the first.

        Beyond the bounds the oldest answers give way: of the same person first.
        """
        values = {**asdict(answer), "key": key, "at": datetime.now(UTC)}
        values["scores"] = _most_probable(answer.scores)
        there = sa.select(ANSWERS.c.key).where(ANSWERS.c.key == key)
        mine = ANSWERS.c.person == answer.person
        with self._database.write() as connection:
            if connection.execute(there).first() is not None:
                return
            if answer.person is not None:
                _drop_oldest(connection, mine, self._bounds.person_answers - 1)
            _drop_oldest(connection, sa.true(), self._bounds.answers - 1)
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

    def judge(self, key: str, feedback: Feedback) -> Kept | None:
        """Keep what somebody says of an answer, as `add` does.

        Returns:
            What was kept; None where somebody judged it before, or the answer is gone.
        """
        first = (
            sa.update(ANSWERS)
            .where(ANSWERS.c.key == key, ANSWERS.c.judged.is_(False))
            .values(judged=True)
        )
        with self._database.write() as connection:
            if connection.execute(first).rowcount == 0:
                return None
            return self._insert(connection, feedback)


class _Usage(NamedTuple):
    rows: int
    photos: int
    photo_bytes: int


def _usage(connection: sa.Connection, person: str | None) -> _Usage:
    """What is stored of a person; None: of all."""
    size = FEEDBACK.c.photo_bytes
    total = sa.func.coalesce(sa.func.sum(size), 0)
    select = sa.select(sa.func.count(), sa.func.count(size), total).select_from(FEEDBACK)
    if person is not None:
        select = select.where(FEEDBACK.c.person == person)
    rows, photos, photo_bytes = connection.execute(select).one()
    return _Usage(int(rows), int(photos), int(photo_bytes))


def _drop_oldest(connection: sa.Connection, of: sa.ColumnElement[bool], most: int) -> None:
    """Delete the oldest answers, so that so many stay."""
    count = sa.select(sa.func.count()).select_from(ANSWERS).where(of)
    too_many = int(connection.execute(count).scalar_one()) - most
    if too_many > 0:
        oldest = sa.select(ANSWERS.c.key).where(of).order_by(ANSWERS.c.at).limit(too_many)
        connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.key.in_(oldest)))


def _most_probable(scores: Mapping[str, float]) -> dict[str, float]:
    best = sorted(scores, key=lambda label: -scores[label])[:_MAX_SCORES]
    return {label: scores[label] for label in best}


def right(answer: str, verdict: str, truth: str) -> bool:
    """Whether an answer was right: its label, or that the photo shows none of them."""
    return verdict == NONE if truth == NONE else verdict != NONE and answer == truth
