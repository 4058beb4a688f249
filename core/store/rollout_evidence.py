"""Evidence about rollouts: traffic of canaries, comparisons of shadows, and feedback on both."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from core.store.database import Database
from core.store.feedback import LABEL, right
from core.store.rollouts import Rollout
from core.store.tables import COMPARISONS, FEEDBACK, ROLLOUTS, SHADOW_SENDERS, TRAFFIC

__all__ = [
    "AnswerSummary",
    "Comparison",
    "JudgedAnswer",
    "RolloutEvidenceTable",
    "TrafficCounts",
    "answer_digest",
    "purge_evidence",
]

_VERDICTS = ("known", "unsure", "none")
_MAX_COMPARISONS = 20_000
_DIGEST_SCORES = 5


@dataclass(frozen=True)
class TrafficCounts:
    """Outcomes of both revisions in a period of time.

    Of a canary, these are runs of either revision in pairs, see `RunPairs`; a run answers all
    photos of a batch. Of a shadow, they are photos.

    Attributes:
        candidate, live: Runs or photos, failed ones included.
        candidate_errors, live_errors: Those on which the model failed.
        candidate_slow, live_slow: Runs that took longer than `Rollout.slow_ms` for each photo.
    """

    candidate: int = 0
    candidate_errors: int = 0
    candidate_slow: int = 0
    live: int = 0
    live_errors: int = 0
    live_slow: int = 0


@dataclass(frozen=True)
class AnswerSummary:
    """Stored part of an answer in a comparison: fields of `Prediction`, and the ms of inference."""

    label: str
    verdict: str
    confidence: float
    known_score: float
    ms: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnswerSummary:
        """Read an answer of a candidate, which is not trusted.

        Raises:
            KeyError, TypeError, ValueError: A value is missing, of another type or no number.
        """
        label, verdict = values["label"], values["verdict"]
        try:
            numbers = [float(values[name]) for name in ("confidence", "known_score", "ms")]
        except OverflowError as error:
            raise ValueError("confidence, known score or milliseconds are too large") from error
        if not isinstance(label, str) or verdict not in _VERDICTS:
            raise TypeError(f"{label!r} is not a label, or {verdict!r} not a verdict")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"confidence, known score or milliseconds are not finite: {numbers}")
        return cls(label, verdict, *numbers)


@dataclass(frozen=True)
class Comparison:
    """The answers of both revisions to one photo, in shadow.

    Attributes:
        answer: Digest of the live answer, see `answer_digest`.
        live: The live answer.
        candidate: The candidate's answer.
    """

    answer: str
    live: AnswerSummary
    candidate: AnswerSummary


class JudgedAnswer(NamedTuple):
    """Feedback on an answer of a revision.

    Attributes:
        revision: Revision that answered.
        person: Keyed hash of the person who judged; None for anonymous feedback.
        truth: True label, or `none`.
        right: Whether the answer was right.
    """

    revision: str
    person: str | None
    truth: str
    right: bool


# Rows with the same numbers of photos are one row with their sums, for all that reads them.
_PAIR = (TRAFFIC.c.candidate, TRAFFIC.c.live)
_COUNTS = fields(TrafficCounts)
_SUMS = [sa.func.sum(TRAFFIC.c[field.name]).label(field.name) for field in _COUNTS]


class RolloutEvidenceTable:
    """The tables of traffic and shadow comparisons, and feedback as evidence.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_traffic(self, number: int, counts: TrafficCounts) -> None:
        """Store counts of a canary."""
        values = asdict(counts) | {"rollout": number, "at": datetime.now(UTC)}
        with self._database.write() as connection:
            connection.execute(sa.insert(TRAFFIC).values(values))

    def traffic(self, number: int) -> list[TrafficCounts]:
        """Return the stored counts of a canary, oldest first.

        Rows with the same numbers of photos are added up, which does not change the evidence of
        `core.rollout.sequential`: it depends on the ratio of these numbers.
        """
        select = sa.select(*_SUMS).where(TRAFFIC.c.rollout == number).group_by(*_PAIR)
        with self._database.read() as connection:
            rows = connection.execute(select.order_by(sa.func.min(TRAFFIC.c.id))).all()
        return [_counts(row) for row in rows]

    def add_comparisons(self, number: int, comparisons: Sequence[Comparison]) -> None:
        """Store comparisons of a shadow; beyond 20,000 the oldest ones are deleted.

        Those of photos whose sender has asked to be forgotten meanwhile are not stored.
        """
        if not comparisons:
            return
        common = {"rollout": number, "at": datetime.now(UTC)}
        of_rollout = COMPARISONS.c.rollout == number
        newest = (
            sa.select(COMPARISONS.c.id)
            .where(of_rollout)
            .order_by(COMPARISONS.c.id.desc())
            .offset(_MAX_COMPARISONS)
            .limit(1)
        )
        with self._database.write() as connection:
            forgotten = _forgotten(connection, comparisons)
            rows = [
                common
                | {"answer": each.answer, "live": asdict(each.live)}
                | {"candidate": asdict(each.candidate)}
                for each in comparisons
                if each.answer not in forgotten
            ]
            if rows:
                connection.execute(sa.insert(COMPARISONS), rows)
            last = connection.execute(newest).scalar()
            if last is not None:
                connection.execute(
                    sa.delete(COMPARISONS).where(of_rollout, COMPARISONS.c.id <= last)
                )

    def comparisons(self, number: int) -> list[Comparison]:
        """Return the stored comparisons of a shadow, oldest first."""
        columns = COMPARISONS.c.answer, COMPARISONS.c.live, COMPARISONS.c.candidate
        select = sa.select(*columns).where(COMPARISONS.c.rollout == number)
        with self._database.read() as connection:
            rows = connection.execute(select.order_by(COMPARISONS.c.id)).all()
        return [
            Comparison(row.answer, AnswerSummary(**row.live), AnswerSummary(**row.candidate))
            for row in rows
        ]

    def judged(self, rollout: Rollout, revisions: Sequence[str]) -> list[JudgedAnswer]:
        """Return the feedback on answers that revisions of the model gave during a rollout.

        Args:
            rollout: The rollout.
            revisions: Revisions as predictions name them.

        Returns:
            The feedback, oldest first.
        """
        columns = FEEDBACK.c.revision, FEEDBACK.c.person
        judgement = FEEDBACK.c.answer, FEEDBACK.c.verdict, FEEDBACK.c.truth
        with self._database.read() as connection:
            rows = connection.execute(_feedback(rollout, revisions, *columns, *judgement)).all()
        return [
            JudgedAnswer(
                row.revision, row.person, row.truth, right(row.answer, row.verdict, row.truth)
            )
            for row in rows
        ]

    def truths(self, rollout: Rollout) -> dict[str, str]:
        """Return what feedback on the live revision's answers during a rollout says.

        Args:
            rollout: The rollout.

        Returns:
            True label, or `none`, by the digest of the answer, see `answer_digest`.
        """
        select = _feedback(rollout, [rollout.live], FEEDBACK.c.truth, FEEDBACK.c.scores)
        with self._database.read() as connection:
            rows = connection.execute(select).all()
        return {answer_digest(rollout.model, rollout.live, row.scores): row.truth for row in rows}


def _feedback(
    rollout: Rollout, revisions: Sequence[str], *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Select the feedback on answers that revisions gave during a rollout, oldest first."""
    select = sa.select(*columns).where(
        FEEDBACK.c.model == rollout.model,
        FEEDBACK.c.revision.in_(revisions),
        FEEDBACK.c.at >= rollout.began_at,
        # Operators label the photos that were hardest for the revision that answered.
        FEEDBACK.c.front != LABEL,
    )
    if rollout.ended_at is not None:
        select = select.where(FEEDBACK.c.at <= rollout.ended_at)
    return select.order_by(FEEDBACK.c.id)


def _forgotten(connection: sa.Connection, comparisons: Sequence[Comparison]) -> set[str]:
    """Return the answers to photos whose sender has asked to be forgotten."""
    answers = [each.answer for each in comparisons]
    of_answers = sa.select(SHADOW_SENDERS).where(SHADOW_SENDERS.c.answer.in_(answers))
    # /forget waits for the end of this transaction, or this one sees what it changed.
    locked = of_answers.order_by(SHADOW_SENDERS.c.id).with_for_update(read=True)
    return {row.answer for row in connection.execute(locked) if row.person is None}


def answer_digest(model: str, revision: str, scores: Mapping[str, float]) -> str:
    """Compute a digest that identifies an answer without a reference to its user.

    The highest scores of two photos virtually never agree in all digits.

    Args:
        model: Name of the model.
        revision: Its revision.
        scores: Scores of the prediction.
    """
    best = sorted(scores.items(), key=lambda each: (-each[1], each[0]))[:_DIGEST_SCORES]
    text = json.dumps([model, revision, best])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def purge_evidence(connection: sa.Connection, moment: datetime) -> None:
    """Delete the evidence of rollouts from before a time.

    Comparisons of photos whose sender has asked to be forgotten are deleted, too: one that was
    being stored before its sender was recorded may have escaped /forget.

    The counts of a canary are deleted only if it ended before that time, since its tests add them
    up from its start; until then, old rows are merged. Rollouts themselves are kept, as the audit
    log is: buttons name them by their number, which must not be used again.

    Args:
        connection: The transaction.
        moment: The time.
    """
    is_canary, is_old = ROLLOUTS.c.kind == "canary", TRAFFIC.c.at < moment
    ended_canaries = sa.select(ROLLOUTS.c.id).where(is_canary, ROLLOUTS.c.ended_at < moment)
    of_canary = TRAFFIC.c.rollout.in_(sa.select(ROLLOUTS.c.id).where(is_canary))
    expired = sa.or_(is_old & ~of_canary, TRAFFIC.c.rollout.in_(ended_canaries))
    forgotten = sa.select(SHADOW_SENDERS.c.answer).where(SHADOW_SENDERS.c.person.is_(None))
    outdated = sa.or_(COMPARISONS.c.at < moment, COMPARISONS.c.answer.in_(forgotten))
    connection.execute(sa.delete(COMPARISONS).where(outdated))
    connection.execute(sa.delete(TRAFFIC).where(expired))
    _add_up_traffic(connection, is_old)


def _add_up_traffic(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Replace rows of a rollout that have the same numbers of photos by one with their sums."""
    groups = sa.select(TRAFFIC.c.rollout).where(which).group_by(TRAFFIC.c.rollout, *_PAIR)
    if connection.execute(groups.having(sa.func.count() > 1).limit(1)).first() is None:
        return
    # Of two purges at once, each adds up what it has deleted itself.
    deleted = connection.execute(sa.delete(TRAFFIC).where(which).returning(TRAFFIC)).all()
    alike: dict[tuple[int, int, int], list[sa.Row[Any]]] = {}
    for row in sorted(deleted, key=lambda row: int(row.id)):
        alike.setdefault((row.rollout, row.candidate, row.live), []).append(row)
    sums = [
        {"rollout": rollout, "at": max(row.at for row in rows)}
        | {field.name: sum(getattr(row, field.name) for row in rows) for field in _COUNTS}
        for (rollout, _, _), rows in alike.items()
    ]
    if sums:
        connection.execute(sa.insert(TRAFFIC), sums)


def _counts(row: Any) -> TrafficCounts:
    # PostgreSQL adds integers up to another type.
    return TrafficCounts(**{field.name: int(getattr(row, field.name)) for field in _COUNTS})
