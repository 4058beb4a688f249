"""Fit calibration and confidence threshold on validation data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.bundle.config import Config
from core.inference.calibration import confidences, probabilities
from core.inference.reliability import log_loss

__all__ = [
    "cross_fitted_confidences",
    "fit_beta_calibration",
    "fit_calibration",
    "fit_temperature",
]

_TEMPERATURES = (0.05, 20.0)
_EXPONENTS = (0.25, 4.0)
_FOLDS = 5


def fit_temperature(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """Fit temperature and exponent of the logits by minimising the log loss.

    `core.inference.calibration.probabilities` defines both. With an exponent of 1 it is temperature
    scaling (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: Logits, shape (n, k).
        labels: Class indices, shape (n,).
        weights: Weight of each row, shape (n,); None for equal weights.

    Returns:
        Temperature, 0.05 to 20, and exponent, 0.25 to 4.
    """

    def loss(logarithms: NDArray[np.float64]) -> float:
        temperature, exponent = np.exp(logarithms)
        return log_loss(probabilities(logits, temperature, exponent), labels, weights)

    result = minimize(
        loss,
        x0=[0.0, 0.0],
        bounds=[np.log(_TEMPERATURES), np.log(_EXPONENTS)],
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 1000},
    )
    temperature, exponent = np.exp(result.x)
    return float(temperature), float(exponent)


def fit_beta_calibration(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float, float]:
    """Fit beta calibration of the largest probability by minimising the log loss of being correct.

    See Kull et al. 2017, Beyond Sigmoids: How to Obtain Well-Calibrated Probabilities from Binary
    Classifiers with Beta Calibration.

    Args:
        scores: Probabilities of `core.inference.calibration.probabilities`, shape (n, k).
        labels: Class indices, shape (n,).
        weights: Weight of each row, shape (n,); None for equal weights.

    Returns:
        Parameters (a, b, c): a and b from 0 to 20, c from -20 to 20.
    """
    largest = scores.max(axis=1)
    correct = scores.argmax(axis=1) == labels
    log_p = np.log(largest)
    log_rest = np.log(np.maximum(1 - largest, 1e-12))

    def loss(beta: NDArray[np.float64]) -> float:
        log_odds = beta[0] * log_p - beta[1] * log_rest + beta[2]
        losses = np.logaddexp(0, np.where(correct, -log_odds, log_odds))
        return float(np.average(losses, weights=weights))

    result = minimize(
        loss,
        x0=[1.0, 1.0, 0.0],
        bounds=[(0, 20), (0, 20), (-20, 20)],
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    a, b, c = result.x
    return float(a), float(b), float(c)


def fit_calibration(
    config: Config, groups: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]]
) -> Config:
    """Fit all calibration parameters: temperature, exponent and beta.

    Args:
        config: Configuration of the model.
        groups: Logits, shape (n, k), and labels, shape (n,), of groups of validation data; each
            group has the same total weight.

    Returns:
        The configuration with these parameters.
    """
    logits = np.concatenate([each for each, _ in groups])
    labels = np.concatenate([each for _, each in groups])
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each, _ in groups])
    temperature, exponent = fit_temperature(logits, labels, weights)
    beta = fit_beta_calibration(probabilities(logits, temperature, exponent), labels, weights)
    return config.model_copy(
        update={"temperature": temperature, "exponent": exponent, "beta": beta}
    )


def cross_fitted_confidences(
    groups: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]], config: Config
) -> list[NDArray[np.float64]]:
    """Compute confidences by five-fold cross-fitting.

    The confidence of each row comes from a calibration that was fitted on the other folds.

    Args:
        groups: Logits, shape (n, k), and labels, shape (n,), of groups of validation data; each
            group has the same total weight and is divided into folds at random.
        config: Configuration of the model.

    Returns:
        Confidences of each group, shape (n,).
    """
    rng = np.random.default_rng(0)
    folds = [rng.permutation(len(labels)) % _FOLDS for _, labels in groups]
    held_out = [np.empty(len(labels)) for _, labels in groups]
    for fold in range(_FOLDS):
        fitted = fit_calibration(
            config,
            [
                (logits[assigned_fold != fold], labels[assigned_fold != fold])
                for (logits, labels), assigned_fold in zip(groups, folds, strict=True)
            ],
        )
        for confidence, (logits, _), assigned_fold in zip(held_out, groups, folds, strict=True):
            confidence[assigned_fold == fold] = confidences(logits[assigned_fold == fold], fitted)
    return held_out
