"""The histograms of answers that are compared to find drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import SplitMetrics
from core.rollout.answer_counts import confidence_bin
from core.store.drift import AnswerHistograms, DriftTable

__all__ = ["DriftSample", "drift_samples"]

_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)


@dataclass(frozen=True)
class DriftSample:
    """Histograms of the answers of one revision.

    Attributes:
        model, revision: The revision.
        day: Histograms of the last 24 full hours.
        month: Histograms of the 30 days before them, or of as many as the revision has answered in;
            empty for a revision that answered its first photo in the last day.
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
    """Collect the histograms of the last 24 full hours and what they are compared with.

    The hour that has not ended is left out. Whoever looks within an hour, and however often, thus
    compares the same photos, and a day has 24 looks: the false-alarm rate is stated for these.

    Args:
        table: The stored statistics.
        models: The models, for their validation metrics.
        now: The current time, in UTC.
        model: Name of a model; None for all.

    Returns:
        One sample for each revision that answered photos in these hours.

    Raises:
        StoreError: The database is not available.
    """
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - _DAY
    days = table.between(start, end)
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
