"""Metrics of calibration, and the confidence threshold."""

from __future__ import annotations

import numpy as np
import pytest

from core.inference.reliability import (
    calibrated_ece_interval,
    ece,
    fit_unsure_threshold,
    log_loss,
    reliability,
)


def test_log_loss_of_uniform_probabilities() -> None:
    assert log_loss(np.full((7, 4), 0.25), np.arange(7) % 4) == pytest.approx(np.log(4))


def test_ece_matches_manual_calculation() -> None:
    # Half the answers at .9, of which half are right; half at 1.0, all right.
    confidences = np.array([0.9, 0.9, 1.0, 1.0])
    right = np.array([True, False, True, True])
    bins = reliability(confidences, right)
    assert len(bins) == 15
    assert [b.n for b in bins if b.n] == [2, 2]
    assert ece(bins) == pytest.approx(0.5 * 0.4)


def test_calibrated_ece_interval_shrinks_with_rows() -> None:
    sure = np.random.default_rng(0).uniform(0.5, 1, 400)
    right = np.ones(400, bool)
    few = calibrated_ece_interval(reliability(sure[:50], right[:50]))
    many = calibrated_ece_interval(reliability(sure, right))
    assert 0 < few[0] < few[1]
    assert many[1] < few[1]


def test_unsure_threshold_is_the_smallest_sufficient_one() -> None:
    confidences = np.linspace(0, 1, 1001)
    right = confidences >= 0.8
    # From t < .8 on, (1 - .8) / (1 - t) of the predictions are right: 95% at t = 1 - .2 / .95.
    threshold = fit_unsure_threshold(confidences, right, np.ones(1001))
    assert threshold == pytest.approx(1 - 0.2 / 0.95, abs=2e-3)
    assert right[confidences >= threshold].mean() >= 0.95


def test_unsure_threshold_is_one_without_a_sufficient_one() -> None:
    wrong = np.zeros(1000, bool)
    assert fit_unsure_threshold(np.linspace(0, 1, 1000), wrong, np.ones(1000)) == 1.0
    few = np.ones(10, bool)
    assert fit_unsure_threshold(np.ones(10), few, np.ones(10)) == 1.0, "too few to tell"


def test_unsure_threshold_is_at_least_one_half() -> None:
    assert fit_unsure_threshold(np.linspace(0, 1, 1000), np.ones(1000, bool), np.ones(1000)) == 0.5


def test_unsure_threshold_keeps_equal_confidences_together() -> None:
    confidences = np.full(100, 0.7)
    right = np.arange(100) < 94
    assert fit_unsure_threshold(confidences, right, np.ones(len(right))) == 1.0


def test_unsure_threshold_respects_weights() -> None:
    """Of a few photos, and many rows that are all right."""
    confidences = np.concatenate([np.full(900, 0.9), np.linspace(0.6, 0.8, 100)])
    right = np.concatenate([np.ones(900, bool), np.arange(100) % 2 == 0])
    assert fit_unsure_threshold(confidences, right, np.ones(1000)) == pytest.approx(0.6)
    even = np.concatenate([np.full(900, 1 / 900), np.full(100, 1 / 100)])
    threshold = fit_unsure_threshold(confidences, right, even)
    kept = confidences >= threshold
    assert threshold > 0.7
    assert (even * right)[kept].sum() / even[kept].sum() >= 0.95
