"""Calibration and thresholds, from validation rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.bundle.config import Config
from core.bundle.metrics import ReliabilityBin
from core.inference.calibration import confidences, probabilities

__all__ = [
    "cross_fitted",
    "ece",
    "ece_if_true",
    "find_beta",
    "find_calibration",
    "find_unsure_below",
    "log_loss",
    "reliability",
]

_BINS = 15
_RIGHT = 0.95
_MIN_ANSWERS = 50


def log_loss(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Mean negative log-likelihood of the labels, in nats.

    Args:
        scores: Probabilities, shape (n, k).
        labels: Class indices, shape (n,).
        weights: How much each row counts, shape (n,); None: all alike.
    """
    of_labels = scores[np.arange(len(labels)), labels]
    return float(np.average(-np.log(np.maximum(of_labels, 1e-300)), weights=weights))


def find_calibration(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """Temperature, .05 to 20, and exponent, .25 to 4, with the least log loss.

    Args:
        logits: Shape (n, k).
        labels: Class indices, shape (n,).
        weights: As for `log_loss`.
    """

    def loss(powers: NDArray[np.float64]) -> float:
        temperature, exponent = np.exp(powers)
        return log_loss(probabilities(logits, temperature, exponent), labels, weights)

    found = minimize(
        loss,
        x0=[0.0, 0.0],
        bounds=[(np.log(0.05), np.log(20)), (np.log(0.25), np.log(4))],
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 1000},
    )
    temperature, exponent = np.exp(found.x)
    return float(temperature), float(exponent)


def find_beta(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float, float]:
    """The `beta` with the least log loss of the largest probabilities being right; a, b at least 0.

    Args:
        scores: What `core.inference.calibration.probabilities` gives, shape (n, k).
        labels: Class indices, shape (n,).
        weights: As for `log_loss`.
    """
    largest = scores.max(axis=1)
    right = scores.argmax(axis=1) == labels
    log_p = np.log(largest)
    log_rest = np.log(np.maximum(1 - largest, 1e-12))

    def loss(beta: NDArray[np.float64]) -> float:
        odds = beta[0] * log_p - beta[1] * log_rest + beta[2]
        return float(np.average(np.logaddexp(0, np.where(right, -odds, odds)), weights=weights))

    found = minimize(
        loss,
        x0=[1.0, 1.0, 0.0],
        bounds=[(0, 20), (0, 20), (-20, 20)],
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    a, b, c = found.x
    return float(a), float(b), float(c)


def find_unsure_below(
    sure: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """The smallest confidence from which on answers are 95% right.

    Args:
        sure: Confidences, shape (n,), 0 to 1.
        right: Whether each answer was right, shape (n,).
        weights: How much each answer counts, shape (n,), above 0.

    Returns:
        A confidence; 1.0 when no threshold leaves at least 50 answers of which 95% are right.
    """
    order = np.argsort(-sure, kind="stable")
    shares = np.cumsum(weights[order] * right[order]) / np.cumsum(weights[order])
    sorted_confidences = sure[order]
    # A threshold takes all answers of its confidence, so only the last of equal ones counts.
    last_of_equal = np.append(sorted_confidences[1:] < sorted_confidences[:-1], True)
    enough = np.arange(1, len(order) + 1) >= _MIN_ANSWERS
    # Ten right ones of weight .1 do not quite sum to 1.
    good = np.flatnonzero((shares >= _RIGHT - 1e-9) & last_of_equal & enough)
    return float(sorted_confidences[good[-1]]) if len(good) else 1.0


def reliability(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: 15 equal bins of confidence.

    Args:
        sure: Confidences, shape (n,), above 0 to 1.
        right: Whether each answer was right, shape (n,).
    """
    edges = np.linspace(0, 1, _BINS + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, _BINS - 1)
    bins = []
    for i in range(_BINS):
        inside = place == i
        n = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=float(edges[i]),
                high=float(edges[i + 1]),
                n=n,
                confidence=float(sure[inside].mean()) if n else None,
                accuracy=float(right[inside].mean()) if n else None,
            )
        )
    return tuple(bins)


def ece(bins: tuple[ReliabilityBin, ...]) -> float:
    """Expected calibration error: mean gap of confidence and accuracy, weighted by rows.

    Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning.
    """
    total = sum(bin_.n for bin_ in bins)
    return sum(
        bin_.n / total * abs(bin_.confidence - bin_.accuracy)
        for bin_ in bins
        if bin_.confidence is not None and bin_.accuracy is not None
    )


def ece_if_true(bins: tuple[ReliabilityBin, ...]) -> tuple[float, float]:
    """Return the 5% and 95% quantile of the ECE of a model that is as often right as it is sure.

    Args:
        bins: How sure a model was, and of how many rows; 2,000 draws of who is right are made.
    """
    filled = [(each.n, each.confidence) for each in bins if each.confidence is not None]
    rows, sure = (np.asarray(column) for column in zip(*filled, strict=True))
    right = np.random.default_rng(0).binomial(rows, sure, (2000, len(rows)))
    low, high = np.quantile(np.abs(right - rows * sure).sum(axis=1) / rows.sum(), [0.05, 0.95])
    return float(low), float(high)


def cross_fitted(
    groups: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]], config: Config, folds: int = 5
) -> list[NDArray[np.float64]]:
    """Return confidences from calibrations that were chosen without the row they are of.

    Args:
        groups: Logits, shape (n, k), and labels, shape (n,), of groups that count alike.
        config: Whatever else of calibration there is.
        folds: Parts that each group is cut into, at random.

    Returns:
        For each group its confidences, shape (n,).
    """
    rng = np.random.default_rng(0)
    parts = [rng.permutation(len(labels)) % folds for _, labels in groups]
    found = [np.empty(len(labels)) for _, labels in groups]
    for fold in range(folds):
        used = [part != fold for part in parts]
        logits, truth = (
            np.concatenate([group[i][chosen] for group, chosen in zip(groups, used, strict=True)])
            for i in (0, 1)
        )
        weights = np.concatenate([np.full(chosen.sum(), 1 / chosen.sum()) for chosen in used])
        temperature, exponent = find_calibration(logits, truth, weights)
        beta = find_beta(probabilities(logits, temperature, exponent), truth, weights)
        values = {"temperature": temperature, "exponent": exponent, "beta": beta}
        fitted = config.model_copy(update=values)
        for confidence, (given, _), chosen in zip(found, groups, used, strict=True):
            confidence[~chosen] = confidences(given[~chosen], fitted)
    return found
