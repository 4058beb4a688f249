"""Estimates in metrics.json."""

from __future__ import annotations

import pytest

from core.bundle.metrics import ProportionEstimate


# Bounds by scipy.stats.binomtest(hits, n).proportion_ci(method="wilson").
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 1, 0.0, 0.793450685622763),
        (1, 1, 0.206549314377237, 1.0),
        (9, 10, 0.596, 0.982),
        (50, 100, 0.404, 0.596),
    ],
)
def test_proportion_estimate_has_the_wilson_interval(
    hits: int, n: int, low: float, high: float
) -> None:
    estimate = ProportionEstimate.of(hits, n)
    assert (estimate.n, estimate.share) == (n, hits / n)
    assert estimate.low == pytest.approx(low, abs=5e-4)
    assert estimate.high == pytest.approx(high, abs=5e-4)
