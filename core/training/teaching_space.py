"""Fit the embedding space of a model, so that classifiers can be taught on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import SPACE
from core.bundle.folder import Bundle, write_bundle
from core.inference.head import write_space
from core.teaching.space import fit_space

__all__ = ["add_space"]


def add_space(bundle: Bundle, embeddings: NDArray[np.float32], kinds: NDArray[np.str_]) -> Bundle:
    """Fit the embedding space of a model, and store it in its folder.

    Args:
        bundle: The model folder.
        embeddings: The model's embeddings of photos of many kinds, shape (n, d).
        kinds: What each photo shows, shape (n,).

    Returns:
        The bundle in its new revision.

    Raises:
        BundleError: A file of the bundle is damaged.
    """
    files = {name: bundle.read(name) for name in bundle.config.sha256}
    files[SPACE] = write_space(fit_space(embeddings, kinds))
    return write_bundle(bundle.folder, bundle.config, files)
