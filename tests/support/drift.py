"""Stored statistics of a month and of a day that differs from it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import sqlalchemy as sa

from core.rollout.drift_report import drift_reports
from core.rollout.drift_result import DriftReport
from core.rollout.drift_samples import DriftSample
from core.store.drift import AnswerHistograms
from core.store.store import Store
from core.store.tables import DRIFT
from tests.support.rollouts import MODEL

__all__ = ["DRIFTED", "REVISION", "USUAL", "drift_report", "store_answers"]

REVISION = "0123456789ab"

USUAL = AnswerHistograms(
    labels=Counter(cat=900, dog=900, ship=800, none=400),
    known_scores=Counter({f"{n / 4:g}": 250 for n in range(12)}),
    confidences=Counter({"0.933": 1500, "0.867": 900, "0.467": 600}),
)
"""Answers of a month."""

DRIFTED = AnswerHistograms(
    labels=Counter(cat=40, dog=30, ship=30, none=300),
    known_scores=Counter({f"{n / 4 - 2:g}": 40 for n in range(10)}),
    confidences=Counter({"0.933": 60, "0.867": 60, "0.467": 280}),
)
"""Answers of a day on which most photos show none of the labels."""


def store_answers(
    store: Store, model: str, revision: str, answers: AnswerHistograms, *, hours_ago: int = 0
) -> None:
    """Store histograms of answers as if they had been given some hours ago."""
    store.drift.add({(model, revision): answers})
    if not hours_ago:
        return
    with store.database.write() as connection:
        mine = sa.and_(DRIFT.c.model == model, DRIFT.c.revision == revision)
        newest = connection.execute(sa.select(sa.func.max(DRIFT.c.hour)).where(mine)).scalar_one()
        earlier = sa.update(DRIFT).where(mine, DRIFT.c.hour == newest)
        connection.execute(earlier.values(hour=newest - timedelta(hours=hours_ago)))


def drift_report() -> DriftReport:
    """Return the report on the day that differs from its month."""
    (found,) = drift_reports([DriftSample(MODEL, REVISION, DRIFTED, USUAL, None)])
    return found
