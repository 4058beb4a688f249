"""Drift of the last day's photos against the month before and validation."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from core.bundle.metrics import SplitMetrics
from core.registry.catalog import Catalog
from core.rollout.drift import Difference, compare
from core.rollout.traffic import confidence_bin
from core.store.drift import AnswerHistograms, DriftTable
from core.store.feedback import NONE

__all__ = ["DriftReport", "drift_reports"]

_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)


@dataclass(frozen=True)
class DriftReport:
    """Drift of one revision.

    Attributes:
        model, revision: The revision.
        month: Differences of the last day from the 30 days before it, by `labels`, `known_scores`
            and `confidences`.
        validation: The same from validation, whose known scores are not stored. Its differences
            are no alarms: what people send differs from a data set on the first day.
    """

    model: str
    revision: str
    month: dict[str, Difference]
    validation: dict[str, Difference]

    @property
    def alarms(self) -> list[str]:
        """Names of the statistics that differ from the month before beyond chance."""
        return [name for name, each in self.month.items() if each.is_alarm]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return asdict(self) | {"alarms": self.alarms}


def drift_reports(
    table: DriftTable, catalog: Catalog, now: datetime, *, model: str | None = None
) -> list[DriftReport]:
    """Compare the photos of the last 24 hours, by revision.

    Args:
        table: The stored statistics.
        catalog: The models, for their validation metrics.
        now: End of the last day, in UTC.
        model: Name of a model; None for all.

    Returns:
        One report for each revision that answered photos in the last day.

    Raises:
        StoreError: The database is not available.
    """
    # Statistics are stored by the hour: the current one belongs to the day.
    start = now.replace(minute=0, second=0, microsecond=0) - _DAY + timedelta(hours=1)
    days = table.between(start, now + _DAY)
    months = table.between(start - _MONTH, start)
    metrics = {each.name: each for each in catalog.models()}
    reports = []
    for (name, revision), day in sorted(days.items()):
        if model not in (None, name):
            continue
        info = metrics.get(name)
        validation = None
        if info is not None and info.revision == revision:
            validation = _of_validation(info.metrics.validation, info.config.labels)
        month = months.get((name, revision), AnswerHistograms())
        reports.append(
            DriftReport(
                name,
                revision,
                {
                    "labels": compare(day.labels, month.labels),
                    "known_scores": compare(day.known_scores, month.known_scores, ordered=True),
                    "confidences": compare(day.confidences, month.confidences, ordered=True),
                },
                {} if validation is None else _from_validation(day, validation),
            )
        )
    return reports


def _of_validation(metrics: SplitMetrics, labels: tuple[str, ...]) -> AnswerHistograms:
    predicted = [sum(row[j] for row in metrics.confusion) for j in range(len(labels))]
    return AnswerHistograms(
        labels=Counter(dict(zip(labels, predicted, strict=True))),
        confidences=Counter({confidence_bin(b.low): b.n for b in metrics.reliability}),
    )


def _from_validation(day: AnswerHistograms, validation: AnswerHistograms) -> dict[str, Difference]:
    # The confusion matrix counts labels whatever the verdict.
    labels = {label: n for label, n in day.labels.items() if label != NONE}
    return {
        "labels": compare(labels, validation.labels),
        "confidences": compare(day.confidences, validation.confidences, ordered=True),
    }
