"""Confidence intervals of means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_interval"]

_Z = 1.96


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Compute the mean of values with its 95% confidence interval, by the normal approximation.

    Args:
        values: Independent values, shape (n,), n at least 2.

    Returns:
        Mean, and lower and upper bound of the interval.
    """
    mean = float(values.mean())
    half_width = _Z * float(values.std(ddof=1)) / len(values) ** 0.5
    return mean, mean - half_width, mean + half_width
