"""Calibrated class probabilities from logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Config

__all__ = ["calibrated", "confidences", "probabilities", "softmax"]

_SMOOTHING = 0.01


def probabilities(
    logits: NDArray[np.floating[Any]], temperature: float, exponent: float = 1.0
) -> NDArray[np.float64]:
    """Compute the softmax of logits after a power transform and temperature scaling.

    Args:
        logits: Array of shape (..., k), any float dtype.
        temperature: Above 0. The transformed logits are divided by it; higher values flatten the
            distribution (Guo et al. 2017, On Calibration of Modern Neural Networks).
        exponent: Above 0. A logit at distance c from the mean of all k becomes
            c (c² + .01)^((exponent - 1) / 2): a signed power of c with a bounded slope near 0.
            Values below 1 undo the compression that label smoothing causes. The order of the logits
            is preserved (as in Rahimi et al. 2020, Intra Order-Preserving Functions).

    Returns:
        Probabilities of shape (..., k), float64, that sum to 1 along the last axis.
    """
    centred = np.asarray(logits, np.float64)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    return softmax(centred * (centred**2 + _SMOOTHING) ** ((exponent - 1) / 2) / temperature)


def calibrated(logits: NDArray[np.floating[Any]], config: Config) -> NDArray[np.float64]:
    """Compute the calibrated probability of each label, as in `Prediction.scores`.

    The largest probability p of `probabilities` is mapped to the logistic function of
    a ln p - b ln(1 - p) + c (beta calibration, Kull et al. 2017), where (a, b, c) is the bundle's
    `beta`. The others are rescaled to sum to the rest. The largest remains the largest: it is
    kept at least 1e-9 above the value at which it would tie with the second.

    Args:
        logits: Array of shape (..., k), any float dtype.
        config: Configuration of the bundle.

    Returns:
        Probabilities of shape (..., k), float64, that sum to 1 along the last axis.
    """
    scores = probabilities(logits, config.temperature, config.exponent)
    a, b, c = config.beta
    if (a, b, c) == (1.0, 1.0, 0.0):
        return scores
    best = scores.argmax(axis=-1)[..., None]
    largest = np.take_along_axis(scores, best, axis=-1)
    others = scores.copy()
    np.put_along_axis(others, best, 0.0, axis=-1)
    # Summing the others is more precise than 1 - p, which cancels for p near 1.
    rest = np.maximum(others.sum(axis=-1, keepdims=True), 1e-300)
    odds = a * np.log(largest) - b * np.log(rest) + c
    calibrated_largest = 1 / (1 + np.exp(-odds))
    second = others.max(axis=-1, keepdims=True) / rest
    calibrated_largest = np.maximum(calibrated_largest, second / (1 + second) + 1e-9)
    rescaled = others / rest * (1 - calibrated_largest)
    np.put_along_axis(rescaled, best, calibrated_largest, axis=-1)
    return np.asarray(rescaled)


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Compute the softmax along the last axis: shape (..., k) to the same shape, float64."""
    scaled = np.asarray(logits, np.float64)
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def confidences(logits: NDArray[np.floating[Any]], config: Config) -> NDArray[np.float64]:
    """Compute the confidence, the largest calibrated probability, of each row of logits.

    Args:
        logits: Array of shape (n, k), any float dtype.
        config: Configuration of the bundle.

    Returns:
        Array of shape (n,), float64, 0 to 1.
    """
    return np.asarray(calibrated(logits, config).max(axis=-1))
