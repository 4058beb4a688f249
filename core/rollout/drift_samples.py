"""The histograms of answers that are compared to find drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import SplitMetrics
from core.rollout.traffic import confidence_bin
from core.store.drift import AnswerHistograms, DriftTable

__all__ = ["DriftSample", "drift_samples"]

_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)


@dataclass(frozen=True)
class DriftSample:
    """Histograms of the answers of one revision.

    Attributes:
        model, revision: The revision.
        day: Histograms of the last day.
        month: Histograms of the 30 days before it.
        validation: Histograms of validation, without known scores and, among the labels, without
            verdicts; None where they are not known.
    """

    model: str
    revision: str
    day: AnswerHistograms
    month: AnswerHistograms
    validation: AnswerHistograms | None


def drift_samples(
    table: DriftTable, models: Collection[ModelInfo], now: datetime, *, model: str | None = None
) -> list[DriftSample]:
    """Collect the histograms of the last 24 hours and what they are compared with.

    Args:
        table: The stored statistics.
        models: The models, for their validation metrics.
        now: End of the last day, in UTC.
        model: Name of a model; None for all.

    Returns:
        One sample for each revision that answered photos in the last day.

    Raises:
        StoreError: The database is not available.
    """
    # Statistics are stored by the hour: the current one belongs to the day.
    start = now.replace(minute=0, second=0, microsecond=0) - _DAY + timedelta(hours=1)
    days = table.between(start, now + _DAY)
    months = table.between(start - _MONTH, start)
    known = {(each.name, each.revision): each for each in models}
    samples = []
    for (name, revision), day in sorted(days.items()):
        if model not in (None, name):
            continue
        info = known.get((name, revision))
        validation = None
        if info is not None:
            validation = _validation_histograms(info.metrics.validation, info.config.labels)
        month = months.get((name, revision), AnswerHistograms())
        samples.append(DriftSample(name, revision, day, month, validation))
    return samples


def _validation_histograms(metrics: SplitMetrics, labels: tuple[str, ...]) -> AnswerHistograms:
    predicted = [sum(row[j] for row in metrics.confusion) for j in range(len(labels))]
    return AnswerHistograms(
        labels=Counter(dict(zip(labels, predicted, strict=True))),
        confidences=Counter({confidence_bin(b.low): b.n for b in metrics.reliability}),
    )
