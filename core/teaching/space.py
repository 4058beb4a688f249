"""Fit the embedding space in which new classes are learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.inference.head import EmbeddingSpace

__all__ = ["fit_space"]

_RANK = 128
_MIN_PHOTOS_OF_KIND = 4
_MIN_SCALE = 1e-6
# Chosen on teaching episodes with the ten classes of CIFAR-10; 1 trusts the covariance too much.
_RIDGE = 3.0


def fit_space(
    embeddings: NDArray[np.float32], kinds: NDArray[np.str_], *, rank: int = _RANK
) -> EmbeddingSpace:
    """Fit the projection of an embedding space to photos of many kinds of things.

    The within-class covariance C of standardised embeddings is replaced by C + 3 I, and its inverse
    square root is kept along the leading principal axes; along all others, the mean of the
    remaining eigenvalues stands for each.

    Args:
        embeddings: Shape (n, d), float32.
        kinds: What each photo shows, shape (n,); kinds of fewer than four photos count for mean and
            scale only.
        rank: Number of axes.
    """
    mean = embeddings.mean(axis=0)
    scale = np.maximum(embeddings.std(axis=0), _MIN_SCALE)
    standardised = (embeddings - mean) / scale
    groups = [standardised[kinds == kind] for kind in np.unique(kinds)]
    within = np.concatenate([g - g.mean(axis=0) for g in groups if len(g) >= _MIN_PHOTOS_OF_KIND])
    values, axes = np.linalg.eigh(within.T @ within / len(within))
    values, axes = values[::-1], axes[:, ::-1]
    rest = values[rank:].mean() if rank < len(values) else values[-1]
    gains = np.sqrt((rest + _RIDGE) / (np.maximum(values[:rank], 0) + _RIDGE))
    return EmbeddingSpace(
        mean.astype(np.float32),
        scale.astype(np.float32),
        np.ascontiguousarray(axes[:, :rank], np.float32),
        gains.astype(np.float32),
    )
