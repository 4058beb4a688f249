"""The queue of photos that operators label: those that are most informative for training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from core.store.database import Database
from core.store.feedback import NONE, WAITS_FOR_LABEL, mark_labelled
from core.store.rollout_evidence import answer_digest
from core.store.tables import ANSWERS, COMPARISONS

__all__ = ["LabelQueue", "QueuedPhoto"]

# Newest photos that are ranked.
_MAX_RANKED = 500


@dataclass(frozen=True)
class QueuedPhoto:
    """A photo whose sender lets operators label it.

    Attributes:
        key: Key of the stored answer to it.
        disagree: Whether two models, or two revisions of one, gave different answers.
        margin: Difference of the two highest scores: small where the model is not sure.
    """

    key: str
    disagree: bool
    margin: float


class LabelQueue:
    """The photos that wait for a label, over the table of answers.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self) -> list[QueuedPhoto]:
        """List the photos that wait: where models disagree, then where they are least sure.

        Models disagree if the answers that a chat asked of several models differ, or if a shadow
        answered otherwise. Of several answers to one photo, the least sure one is listed.
        """
        columns = ("key", "file", "model", "revision", "answer", "verdict", "scores")
        waits = sa.select(*(ANSWERS.c[name] for name in columns)).where(WAITS_FOR_LABEL)
        with self._database.read() as connection:
            newest = waits.order_by(ANSWERS.c.at.desc()).limit(_MAX_RANKED)
            rows = connection.execute(newest).all()
            digests = [answer_digest(row.model, row.revision, row.scores) for row in rows]
            changed = _changed_in_shadow(connection, digests)
        photos: defaultdict[str, list[tuple[QueuedPhoto, str]]] = defaultdict(list)
        for row, digest in zip(rows, digests, strict=True):
            best = sorted(row.scores.values(), reverse=True)[:2]
            margin = best[0] - best[1] if len(best) > 1 else 1.0
            queued = QueuedPhoto(row.key, digest in changed, margin)
            photos[row.file].append((queued, _said(row.answer, row.verdict)))
        found = [_least_sure(answers) for answers in photos.values()]
        return sorted(found, key=lambda each: (not each.disagree, each.margin))

    def skip(self, key: str) -> None:
        """Remove the photo of an answer from the queue without a label."""
        with self._database.write() as connection:
            mark_labelled(connection, key)

    def withdraw(self, person: str) -> None:
        """Remove all photos of a user, who does not let operators label them any more.

        Args:
            person: Keyed hash of the user's id.
        """
        own_answers = sa.update(ANSWERS).where(ANSWERS.c.person == person)
        with self._database.write() as connection:
            connection.execute(own_answers.values(may_label=False))


def _least_sure(answers: Sequence[tuple[QueuedPhoto, str]]) -> QueuedPhoto:
    """Return one of the answers to a photo, as a representative of all."""
    least = min((queued for queued, _ in answers), key=lambda each: each.margin)
    disagree = any(queued.disagree for queued, _ in answers)
    return QueuedPhoto(least.key, disagree or len({said for _, said in answers}) > 1, least.margin)


def _changed_in_shadow(connection: sa.Connection, digests: Sequence[str]) -> set[str]:
    """Return those of some answers that the candidate of a shadow answered otherwise."""
    columns = COMPARISONS.c.answer, COMPARISONS.c.live, COMPARISONS.c.candidate
    some = sa.select(*columns).where(COMPARISONS.c.answer.in_(digests))
    rows: Iterable[Any] = connection.execute(some) if digests else ()
    return {
        row.answer
        for row in rows
        if _said(row.live["label"], row.live["verdict"])
        != _said(row.candidate["label"], row.candidate["verdict"])
    }


def _said(label: str, verdict: str) -> str:
    """Return the label that was answered, or `none`."""
    return NONE if verdict == NONE else label
