from __future__ import annotations

from collections import Counter

from core.rollout.drift_report import drift_reports
from core.rollout.drift_samples import DriftSample
from core.store.drift import AnswerHistograms
from tests.support.drift import DRIFTED, USUAL


def test_day_is_compared_with_its_month_by_statistic() -> None:
    same, drifted = drift_reports(
        [
            DriftSample("classic", "1" * 12, USUAL, USUAL, None),
            DriftSample("scratch", "2" * 12, DRIFTED, USUAL, None),
        ]
    )
    assert (same.model, same.revision, same.alarms, same.validation) == (
        "classic",
        "1" * 12,
        [],
        {},
    )
    assert (drifted.model, drifted.revision) == ("scratch", "2" * 12)
    assert set(drifted.alarms) == {"labels", "known_scores", "confidences"}


def test_photos_of_none_are_left_out_of_the_comparison_with_validation() -> None:
    validation = AnswerHistograms(
        labels=Counter(cat=1000, dog=1000, ship=1000),
        known_scores=Counter(),
        confidences=Counter({"0.933": 3000}),
    )
    (report,) = drift_reports([DriftSample("classic", "1" * 12, DRIFTED, USUAL, validation)])
    assert report.validation.keys() == {"labels", "confidences"}
    assert report.validation["labels"].n == 100, "of 400 answers, 300 were none"
