"""Answers that users can give feedback on, and that feedback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.dialects import insert
from core.store.tables import ANSWERS, FEEDBACK

__all__ = [
    "LABEL",
    "NONE",
    "WAITS_FOR_LABEL",
    "Feedback",
    "FeedbackStats",
    "FeedbackTable",
    "StorageLimits",
    "StoreResult",
    "StoredAnswer",
    "mark_labelled",
    "right",
]

WAITS_FOR_LABEL = sa.and_(
    ANSWERS.c.may_label.is_(True), ANSWERS.c.judged.is_(False), ANSWERS.c.labelled.is_(False)
)
"""Condition of the answers in the label queue."""

# Scores to store for each answer, the highest ones: a model may have 1,000 labels.
_MAX_SCORES = 100

LABEL = "label"
"""Front of operators' labels, which statistics of feedback leave out: their photos are chosen."""

NONE = "none"
"""The true label of a photo that shows none of the labels."""


@dataclass(frozen=True)
class StorageLimits:
    """Storage limits in total and per user, so that no user can fill the disk or use up the total.

    Anonymous rows (`person` is None) count towards the totals only. Answers beyond a limit replace
    the oldest ones; feedback or photos beyond a limit are not stored.

    Attributes:
        feedback, person_feedback: Maximum number of feedback rows.
        photos, person_photos: Maximum number of photos stored with them.
        photo_bytes, person_photo_bytes: Maximum size of these photos in bytes.
        answers, person_answers: Maximum number of answers that are open for feedback.
    """

    feedback: int = 200_000
    person_feedback: int = 5_000
    photos: int = 10_000
    person_photos: int = 500
    photo_bytes: int = 2 * 2**30
    person_photo_bytes: int = 128 * 2**20
    answers: int = 100_000
    person_answers: int = 1_000


class StoreResult(NamedTuple):
    """Outcome of storing feedback: whether it was stored, and whether its photo was."""

    feedback: bool
    photo: bool


@dataclass(frozen=True)
class StoredAnswer:
    """A stored answer, which the buttons under it refer to.

    Attributes:
        person: Keyed hash of the id of the photo's sender.
        file: Telegram file id, with which the photo can be downloaded again.
        model, revision, answer, verdict, scores: Fields of the prediction; `answer` is its label.
        judged: Whether feedback was given.
        may_label: Whether the sender lets operators see and label the photo.
    """

    person: str | None
    file: str
    model: str
    revision: str
    answer: str
    verdict: str
    scores: Mapping[str, float]
    judged: bool = False
    may_label: bool = False


@dataclass(frozen=True)
class Feedback:
    """A user's feedback on an answer.

    Attributes:
        front: Where it was given, `page` or `bot`; `label` for an operator's label.
        model, revision, answer, verdict, scores: Fields of the prediction; `answer` is its label.
        truth: The true label, or `none`.
        person: Keyed hash of the user's id; None for anonymous feedback. Of a label, that of the
            photo's sender.
        photo: JPEG without EXIF data, the output of `to_archival_jpeg`; None without consent.
    """

    front: Literal["page", "bot", "label"]
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
        """Return whether the answer was right, see `right`."""
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
        bounds: Storage limits; None for the defaults.
    """

    def __init__(self, database: Database, bounds: StorageLimits | None = None) -> None:
        self._database = database
        self._bounds = bounds or StorageLimits()

    def add(self, feedback: Feedback) -> StoreResult:
        """Store feedback within the storage limits; beyond them, its photo or all of it is dropped.

        Returns:
            What was stored.
        """
        with self._database.write() as connection:
            return self._insert(connection, feedback)

    def _insert(self, connection: sa.Connection, feedback: Feedback) -> StoreResult:
        bounds, photo = self._bounds, feedback.photo
        everybody = _usage(connection, None)
        person = _Usage(0, 0, 0)
        if feedback.person is not None:
            person = _usage(connection, feedback.person)
        if everybody.rows >= bounds.feedback or person.rows >= bounds.person_feedback:
            return StoreResult(feedback=False, photo=False)
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
        return StoreResult(feedback=True, photo=photo is not None)

    def stats(self, since: datetime | None = None, *, labels: bool = False) -> list[FeedbackStats]:
        """Return the counts of each revision, sorted by model, then most recent feedback first.

        Args:
            since: Time from which feedback counts; None for all.
            labels: Whether to count operators' labels instead of users' feedback.
        """
        columns = (FEEDBACK.c.model, FEEDBACK.c.revision)
        judgement = (FEEDBACK.c.answer, FEEDBACK.c.verdict, FEEDBACK.c.truth)
        counted = sa.func.count().label("n")
        last = sa.func.max(FEEDBACK.c.at).label("last")
        select = sa.select(*columns, *judgement, counted, last).group_by(*columns, *judgement)
        is_label = FEEDBACK.c.front == LABEL
        select = select.where(is_label if labels else sa.not_(is_label))
        if since is not None:
            select = select.where(FEEDBACK.c.at >= since)
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

    def add_answer(self, key: str, answer: StoredAnswer) -> None:
        """Store an answer under a key; an answer that exists under the key is kept.

        Beyond the bounds the oldest answers are deleted, those of the same user first.

        Args:
            key: Key of at most 16 characters, chosen by the caller.
            answer: The answer.
        """
        values = {**asdict(answer), "key": key, "at": datetime.now(UTC)}
        values["scores"] = _most_probable(answer.scores)
        there = sa.select(ANSWERS.c.key).where(ANSWERS.c.key == key)
        own_answers = ANSWERS.c.person == answer.person
        with self._database.write() as connection:
            if connection.execute(there).first() is not None:
                return
            if answer.person is not None:
                _drop_oldest(connection, own_answers, self._bounds.person_answers - 1)
            _drop_oldest(connection, sa.true(), self._bounds.answers - 1)
            # Another process may have stored it since.
            new = insert(connection, ANSWERS).on_conflict_do_nothing()
            connection.execute(new.values(values))

    def answer(self, key: str) -> StoredAnswer | None:
        """Return the answer stored under a key; None where there is none or it was deleted."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(ANSWERS).where(ANSWERS.c.key == key)).first()
        if row is None:
            return None
        return StoredAnswer(
            row.person,
            row.file,
            row.model,
            row.revision,
            row.answer,
            row.verdict,
            row.scores,
            row.judged,
            row.may_label,
        )

    def judge(self, key: str, feedback: Feedback) -> StoreResult | None:
        """Store feedback on an answer, once.

        Args:
            key: Key of the answer.
            feedback: The feedback; see `add` for the bounds.

        Returns:
            What was stored; None where the answer already has feedback or was deleted.
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

    def label(self, key: str, feedback: Feedback) -> StoreResult | None:
        """Store an operator's label of the photo of an answer, once.

        Args:
            key: Key of the answer.
            feedback: The label; see `add` for the bounds.

        Returns:
            What was stored; None where the photo has a label, or its sender does not allow it.
        """
        with self._database.write() as connection:
            if not mark_labelled(connection, key):
                return None
            return self._insert(connection, feedback)


def mark_labelled(connection: sa.Connection, key: str) -> bool:
    """Remove the photo of an answer from the label queue; return whether it was in it."""
    claimed = sa.update(ANSWERS).where(ANSWERS.c.key == key, WAITS_FOR_LABEL)
    if not connection.execute(claimed.values(labelled=True)).rowcount:
        return False
    # All answers to the photo.
    file = sa.select(ANSWERS.c.file).where(ANSWERS.c.key == key).scalar_subquery()
    connection.execute(sa.update(ANSWERS).where(ANSWERS.c.file == file).values(labelled=True))
    return True


class _Usage(NamedTuple):
    rows: int
    photos: int
    photo_bytes: int


def _usage(connection: sa.Connection, person: str | None) -> _Usage:
    """Count the stored feedback, photos and their bytes, of one user or (None) of all."""
    size = FEEDBACK.c.photo_bytes
    total = sa.func.coalesce(sa.func.sum(size), 0)
    select = sa.select(sa.func.count(), sa.func.count(size), total).select_from(FEEDBACK)
    if person is not None:
        select = select.where(FEEDBACK.c.person == person)
    rows, photos, photo_bytes = connection.execute(select).one()
    return _Usage(int(rows), int(photos), int(photo_bytes))


def _drop_oldest(connection: sa.Connection, of: sa.ColumnElement[bool], limit: int) -> None:
    """Delete the oldest answers, so that at most `limit` are left."""
    count = sa.select(sa.func.count()).select_from(ANSWERS).where(of)
    too_many = int(connection.execute(count).scalar_one()) - limit
    if too_many > 0:
        oldest = sa.select(ANSWERS.c.key).where(of).order_by(ANSWERS.c.at).limit(too_many)
        connection.execute(sa.delete(ANSWERS).where(ANSWERS.c.key.in_(oldest)))


def _most_probable(scores: Mapping[str, float]) -> dict[str, float]:
    best = sorted(scores, key=lambda label: -scores[label])[:_MAX_SCORES]
    return {label: scores[label] for label in best}


def right(answer: str, verdict: str, truth: str) -> bool:
    """Return whether an answer was right.

    Args:
        answer: Predicted label.
        verdict: Verdict of the prediction.
        truth: True label, or `none`; for `none` the verdict `none` is right.
    """
    return verdict == NONE if truth == NONE else verdict != NONE and answer == truth
