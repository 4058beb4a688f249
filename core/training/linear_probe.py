"""Linear probe: a logistic regression on the embeddings of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

__all__ = ["LinearProbe", "fit_linear_probe"]

_MIN_DEVIATION = 0.01
_MAX_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear head.

    Attributes:
        kernel: Weights, shape (d, k), float32.
        bias: Biases, shape (k,), float32.
        deviation: Standard deviation of each feature, shape (d,), float32, at least 0.01.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    deviation: NDArray[np.float32]


def fit_linear_probe(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    c: float,
    weights: NDArray[np.float64] | None = None,
) -> LinearProbe:
    """Fit a multinomial logistic regression on standardised embeddings.

    Args:
        embeddings: Embeddings, shape (n, d).
        labels: Class indices, shape (n,).
        classes: Number of classes, k.
        c: Inverse L2 regularisation strength.
        weights: Weight of each image in the loss, shape (n,); None to weight all alike.

    Raises:
        ValueError: A class has no image.
    """
    mean = embeddings.mean(axis=0)
    deviation = np.maximum(embeddings.std(axis=0), _MIN_DEVIATION)
    fitted = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, tol=1e-3).fit(
        (embeddings - mean) / deviation, labels, sample_weight=weights
    )
    if len(fitted.classes_) != classes:
        raise ValueError(f"only {len(fitted.classes_)} of {classes} classes have a training image")
    kernel = (fitted.coef_ / deviation).T
    bias = fitted.intercept_ - mean @ kernel
    return LinearProbe(
        kernel.astype(np.float32), bias.astype(np.float32), deviation.astype(np.float32)
    )
