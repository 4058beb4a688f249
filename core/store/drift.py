"""Hourly statistics of answers, for the detection of drift."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.store.database import Database
from core.store.tables import DRIFT

__all__ = ["AnswerHistograms", "DriftTable", "purge_drift_hours"]

_KEPT_DAYS = 35


@dataclass
class AnswerHistograms:
    """Histograms of answers: numbers of photos by bin.

    Attributes:
        labels: By predicted label; `none` for the verdict `none`.
        known_scores, confidences: By lower bound of the bin, as text.
    """

    labels: Counter[str] = field(default_factory=Counter)
    known_scores: Counter[str] = field(default_factory=Counter)
    confidences: Counter[str] = field(default_factory=Counter)

    def add(self, other: AnswerHistograms) -> None:
        """Add the photos of other histograms."""
        self.labels.update(other.labels)
        self.known_scores.update(other.known_scores)
        self.confidences.update(other.confidences)


class DriftTable:
    """The table of hourly statistics. No row refers to a person or a photo.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = secrets.token_hex(8)

    def add(self, counted: Mapping[tuple[str, str], AnswerHistograms]) -> None:
        """Add histograms to the current hour, and delete those of more than 35 days ago.

        Args:
            counted: Histograms by model and revision.
        """
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        with self._database.write() as connection:
            # Here too: not every process that counts belongs to a bot, which purges regularly.
            purge_drift_hours(connection)
            for (model, revision), new in counted.items():
                key = {"hour": hour, "model": model, "revision": revision}
                key["process"] = self._process
                this_row = sa.and_(*(DRIFT.c[name] == value for name, value in key.items()))
                row = connection.execute(sa.select(DRIFT).where(this_row)).first()
                total = AnswerHistograms() if row is None else _histograms(row)
                total.add(new)
                values = {
                    "labels": dict(total.labels),
                    "known_scores": dict(total.known_scores),
                    "confidences": dict(total.confidences),
                }
                if row is None:
                    connection.execute(sa.insert(DRIFT).values(key | values))
                else:
                    connection.execute(sa.update(DRIFT).where(this_row).values(values))

    def between(self, start: datetime, end: datetime) -> dict[tuple[str, str], AnswerHistograms]:
        """Return the histograms of the hours from a start to an end, by model and revision."""
        select = sa.select(DRIFT).where(DRIFT.c.hour >= start, DRIFT.c.hour < end)
        found: dict[tuple[str, str], AnswerHistograms] = {}
        with self._database.read() as connection:
            for row in connection.execute(select):
                total = found.setdefault((row.model, row.revision), AnswerHistograms())
                total.add(_histograms(row))
        return found


def purge_drift_hours(connection: sa.Connection) -> None:
    """Delete the histograms of more than 35 days ago."""
    before = datetime.now(UTC) - timedelta(_KEPT_DAYS)
    connection.execute(sa.delete(DRIFT).where(DRIFT.c.hour < before))


def _histograms(row: sa.Row[tuple[object, ...]]) -> AnswerHistograms:
    return AnswerHistograms(
        Counter(row.labels), Counter(row.known_scores), Counter(row.confidences)
    )
