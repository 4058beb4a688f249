"""Drift of the last day's photos against the month before and validation."""

from __future__ import annotations

from collections.abc import Sequence

from core.rollout.drift import compare
from core.rollout.drift_result import Difference, DriftReport
from core.rollout.drift_samples import DriftSample
from core.store.drift import AnswerHistograms
from core.store.feedback import NONE

__all__ = ["drift_reports"]


def drift_reports(samples: Sequence[DriftSample]) -> list[DriftReport]:
    """Compare the photos of the last day with those of the references, by revision."""
    return [
        DriftReport(
            each.model,
            each.revision,
            {
                "labels": compare(each.day.labels, each.month.labels),
                "known_scores": compare(
                    each.day.known_scores, each.month.known_scores, ordered=True
                ),
                "confidences": compare(each.day.confidences, each.month.confidences, ordered=True),
            },
            {} if each.validation is None else _compare_with_validation(each.day, each.validation),
        )
        for each in samples
    ]


def _compare_with_validation(
    day: AnswerHistograms, validation: AnswerHistograms
) -> dict[str, Difference]:
    # The confusion matrix counts labels whatever the verdict.
    labels = {label: n for label, n in day.labels.items() if label != NONE}
    return {
        "labels": compare(labels, validation.labels),
        "confidences": compare(day.confidences, validation.confidences, ordered=True),
    }
