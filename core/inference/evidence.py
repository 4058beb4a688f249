"""Saliency maps from class evidence maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.photos.preprocess import InputSpec

__all__ = ["Evidence"]

_MIN_CELLS = 5


@dataclass(frozen=True, eq=False)
class Evidence:
    """Class evidence maps of one image.

    Attributes:
        maps: Shape (h, w, k), float32.
        activation: Whether they are class activation maps, whose means are the logits; only then
            can the evidence for different labels at one place be compared.
    """

    maps: NDArray[np.float32]
    activation: bool

    def saliency(self, label: int, spec: InputSpec) -> NDArray[np.float32] | None:
        """Compute the saliency map for a label.

        docs/TRAINING.md, "Saliency maps", compares the two methods.

        Args:
            label: Index of the label.
            spec: The model's input.

        Returns:
            Array of the model's input size, float32, 0 to 1; None for maps of less than 5 × 5
            cells, which are too coarse.
        """
        if min(self.maps.shape[:2]) < _MIN_CELLS:
            return None
        support = self._lead(label) if self.activation else self._contrast_to_border(label)
        if not support.any():
            support = np.maximum(self.maps[:, :, label], 0)
        support = support / max(float(support.max()), 1e-12)
        size = (spec.width, spec.height)
        scaled = Image.fromarray(support).resize(size, Image.Resampling.BILINEAR)
        return np.clip(np.asarray(scaled, np.float32), 0, 1)

    def _lead(self, label: int) -> NDArray[np.float32]:
        """Return the squared lead of the label over the strongest other label.

        Evidence that labels share, such as that of a background, cancels out. The square keeps
        weak evidence over a large area from outweighing the object.
        """
        others = np.delete(self.maps, label, axis=2).max(axis=2)
        lead: NDArray[np.float32] = np.maximum(self.maps[:, :, label] - others, 0) ** 2
        return lead

    def _contrast_to_border(self, label: int) -> NDArray[np.float32]:
        """Weight squared positive evidence by its squared distance from the median at the border.

        Without the weights and the square, the weak evidence of a large uniform background would
        outweigh a small object.
        """
        maps = self.maps
        edges = np.concatenate([maps[0], maps[-1], maps[1:-1, 0], maps[1:-1, -1]])
        contrast = ((maps - np.median(edges, axis=0)) ** 2).sum(axis=2)
        weighted: NDArray[np.float32] = np.maximum(maps[:, :, label], 0) ** 2 * contrast
        return weighted
