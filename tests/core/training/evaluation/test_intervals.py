"""Confidence intervals of means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from core.training.evaluation.intervals import mean_interval


def test_mean_interval_is_the_normal_approximation() -> None:
    values = np.array([0.2, 0.4, 0.9, 0.5])
    error = np.sqrt(((values - 0.5) ** 2).sum() / 3 / 4)
    low, high = norm.interval(0.95, 0.5, error)
    assert mean_interval(values) == pytest.approx((0.5, low, high), abs=1e-4)


def test_mean_interval_of_equal_values_is_empty() -> None:
    assert mean_interval(np.full(3, 0.25)) == (0.25, 0.25, 0.25)
