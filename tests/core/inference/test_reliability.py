"""Metrics of calibration."""

from __future__ import annotations

import numpy as np
import pytest

from core.inference.reliability import (
    calibrated_ece_interval,
    ece,
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
