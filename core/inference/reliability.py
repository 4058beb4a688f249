"""Metrics of calibration: log loss, reliability diagram, ECE, and the threshold of `unsure`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import ReliabilityBin

__all__ = [
    "calibrated_ece_interval",
    "ece",
    "fit_unsure_threshold",
    "log_loss",
    "reliability",
]

_BINS = 15
_MIN_PROBABILITY = 1e-300
_SIMULATIONS = 2_000
_TARGET_ACCURACY = 0.95
_MIN_CONFIDENCE = 0.5  # a less confident prediction is more likely wrong than right


def log_loss(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Return the mean negative log-likelihood of the labels, in nats.

    Args:
        probabilities: Class probabilities, shape (n, k).
        labels: Class indices, shape (n,).
        weights: Weight of each row, shape (n,); None for equal weights.
    """
    label_probabilities = probabilities[np.arange(len(labels)), labels]
    return float(
        np.average(-np.log(np.maximum(label_probabilities, _MIN_PROBABILITY)), weights=weights)
    )


def reliability(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    """Return the reliability diagram in 15 equal-width bins.

    Args:
        confidences: Confidences, shape (n,), in (0, 1].
        correct: Whether each prediction is correct, shape (n,).
    """
    edges = np.linspace(0, 1, _BINS + 1)
    index = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, _BINS - 1)
    bins = []
    for i in range(_BINS):
        in_bin = index == i
        n = int(in_bin.sum())
        bins.append(
            ReliabilityBin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                n=n,
                confidence=float(confidences[in_bin].mean()) if n else None,
                accuracy=float(correct[in_bin].mean()) if n else None,
            )
        )
    return tuple(bins)


def ece(bins: tuple[ReliabilityBin, ...]) -> float:
    """Return the expected calibration error, 0 to 1.

    It is the mean absolute difference of confidence and accuracy over the bins, weighted by their
    rows (Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning).

    Args:
        bins: Reliability diagram; at least one row.
    """
    total = sum(each.n for each in bins)
    return sum(
        each.n / total * abs(each.confidence - each.accuracy)
        for each in bins
        if each.confidence is not None and each.accuracy is not None
    )


def calibrated_ece_interval(bins: tuple[ReliabilityBin, ...]) -> tuple[float, float]:
    """Return the central 90% interval of the ECE of a perfectly calibrated model.

    The ECE of a finite sample is positive even for such a model. The interval comes from 2,000
    simulations in which a prediction of confidence p is correct with probability p.

    Args:
        bins: Reliability diagram, whose confidences and row counts are used.
    """
    nonempty = [(each.n, each.confidence) for each in bins if each.confidence is not None]
    rows, confidences = (np.asarray(column) for column in zip(*nonempty, strict=True))
    correct = np.random.default_rng(0).binomial(rows, confidences, (_SIMULATIONS, len(rows)))
    errors = np.abs(correct - rows * confidences).sum(axis=1) / rows.sum()
    low, high = np.quantile(errors, [0.05, 0.95])
    return float(low), float(high)


def fit_unsure_threshold(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    weights: NDArray[np.float64],
    *,
    min_accepted: int = 50,
) -> float:
    """Return the smallest threshold of 0.5 or more at which 95% of accepted predictions are right.

    Args:
        confidence: Confidences, shape (n,), 0 to 1.
        correct: Whether each prediction is correct, shape (n,).
        weights: Weight of each prediction, shape (n,), positive.
        min_accepted: Number of predictions that a threshold must accept.

    Returns:
        A confidence; 1.0 where no threshold accepts enough predictions of that accuracy.
    """
    order = np.argsort(-confidence, kind="stable")
    accuracies = np.cumsum(weights[order] * correct[order]) / np.cumsum(weights[order])
    descending = confidence[order]
    # A threshold accepts all predictions of its confidence, so only the last of equal ones counts.
    last_of_equal = np.append(descending[1:] < descending[:-1], True)
    accepts_enough = np.arange(1, len(order) + 1) >= min_accepted
    # The tolerance covers rounding: ten weights of 0.1 do not sum to exactly 1.
    reached = np.flatnonzero(
        (accuracies >= _TARGET_ACCURACY - 1e-9) & last_of_equal & accepts_enough
    )
    return max(float(descending[reached[-1]]), _MIN_CONFIDENCE) if len(reached) else 1.0
