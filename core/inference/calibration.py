"""Calibrated class probabilities from logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Config

__all__ = ["calibrated", "confidences", "probabilities", "softmax"]

_NEAR = 0.01


def probabilities(
    logits: NDArray[np.floating[Any]], temperature: float, exponent: float = 1.0
) -> NDArray[np.float64]:
    """The softmax of logits that were bent and scaled.

    Args:
        logits: Shape (..., k).
        temperature: Above 0. The bent logits are divided by it; larger values bring the
            probabilities nearer to each other (Guo et al. 2017, On Calibration of Modern Neural
            Networks).
        exponent: Above 0. A logit that is c above the mean of all becomes
            c (c² + .01)^((exponent - 1) / 2): the signed power of c, but not steep near 0. Under 1
            it brings apart what label smoothing has pressed together; the order stays (as in
            Rahimi et al. 2020, Intra Order-Preserving Functions).

    Returns:
        Shape (..., k), float64; sums to 1 along the last axis.
    """
    centred = np.asarray(logits, np.float64)
    centred = centred - centred.mean(axis=-1, keepdims=True)
    return softmax(centred * (centred**2 + _NEAR) ** ((exponent - 1) / 2) / temperature)


def calibrated(logits: NDArray[np.floating[Any]], config: Config) -> NDArray[np.float64]:
    """Probability of each label, which stands in `Prediction.scores`.

    The largest of `probabilities`, p, becomes the logistic function of a ln p - b ln(1 - p) + c
    (beta calibration, Kull et al. 2017), where (a, b, c) is the bundle's `beta`; the others keep
    their proportions. It stays the largest, if need be by a hair.

    Args:
        logits: Shape (..., k).
        config: The bundle's.

    Returns:
        Shape (..., k), float64; sums to 1 along the last axis.
    """
    scores = probabilities(logits, config.temperature, config.exponent)
    a, b, c = config.beta
    if (a, b, c) == (1.0, 1.0, 0.0):
        return scores
    best = scores.argmax(axis=-1)[..., None]
    largest = np.take_along_axis(scores, best, axis=-1)
    others = scores.copy()
    np.put_along_axis(others, best, 0.0, axis=-1)
    # Of numbers near 1, the rest is more exact as a sum.
    rest = np.maximum(others.sum(axis=-1, keepdims=True), 1e-300)
    odds = a * np.log(largest) - b * np.log(rest) + c
    sure = 1 / (1 + np.exp(-odds))
    second = others.max(axis=-1, keepdims=True) / rest
    sure = np.maximum(sure, second / (1 + second) + 1e-9)
    moved = others / rest * (1 - sure)
    np.put_along_axis(moved, best, sure, axis=-1)
    return np.asarray(moved)


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Shape (..., k) to the same in float64; sums to 1 along the last axis."""
    scaled = np.asarray(logits, np.float64)
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def confidences(logits: NDArray[np.floating[Any]], config: Config) -> NDArray[np.float64]:
    """The largest calibrated probability of each row: shape (n, k) to (n,), 0 to 1."""
    return np.asarray(calibrated(logits, config).max(axis=-1))
