"""A linear head on the embeddings of a network, by logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

__all__ = ["Probe", "fit_probe"]

_LEAST_DEVIATION = 0.01
_MAX_STEPS = 200


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear head.

    Attributes:
        kernel: Shape (d, k), float32.
        bias: Shape (k,), float32.
        deviation: Standard deviation of each number of the embedding, shape (d,), at least .01.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    deviation: NDArray[np.float32]


def fit_probe(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], classes: int, c: float
) -> Probe:
    """Fit a multinomial logistic regression on standardised embeddings.

    Args:
        embeddings: Shape (n, d).
        labels: Class indices, shape (n,); each class is there.
        classes: k.
        c: Inverse of the regularisation.
    """
    mean = embeddings.mean(axis=0)
    deviation = np.maximum(embeddings.std(axis=0), _LEAST_DEVIATION)
    fitted = LogisticRegression(C=c, max_iter=_MAX_STEPS, tol=1e-3).fit(
        (embeddings - mean) / deviation, labels
    )
    if len(fitted.classes_) != classes:
        raise ValueError(f"{len(fitted.classes_)} of {classes} classes have no image to learn from")
    kernel = (fitted.coef_ / deviation).T
    bias = fitted.intercept_ - mean @ kernel
    return Probe(kernel.astype(np.float32), bias.astype(np.float32), deviation.astype(np.float32))
