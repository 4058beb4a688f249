"""Training examples of the learner, importable without scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Examples"]


@dataclass(frozen=True, eq=False)
class Examples:
    """Embeddings of photos to learn from.

    Attributes:
        embeddings: One for each view of each photo, shape (n, v, d), float32; the first view is the
            unchanged photo.
        labels: Class indices, 0 to k - 1, shape (n,), int64; at least three photos of each class.
    """

    embeddings: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Return the number of classes, k."""
        return int(self.labels.max()) + 1

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Select photos.

        Args:
            rows: Indices of the photos, shape (m,).
        """
        return Examples(self.embeddings[rows], self.labels[rows])
