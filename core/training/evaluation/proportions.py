"""Proportions with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from core.bundle.metrics import ProportionEstimate

__all__ = ["estimate_proportion"]


def estimate_proportion(outcomes: Sequence[bool] | NDArray[np.bool_]) -> ProportionEstimate:
    """Return the proportion of true outcomes with its 95% interval (Wilson 1927).

    Args:
        outcomes: Outcomes, shape (n,); at least one.
    """
    n, hits = len(outcomes), int(np.sum(outcomes))
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return ProportionEstimate(
        n=n, share=hits / n, low=float(interval.low), high=float(interval.high)
    )
