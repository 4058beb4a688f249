"""Test-time augmentation: run an engine on several views of an image, and average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import View
from core.inference.engine import Engine, Outputs
from core.photos.preprocess import InputSpec, normalise

if TYPE_CHECKING:
    from core.inference.isolated_engine import IsolatedEngine

__all__ = ["MAX_BATCH", "MultiViewEngine"]

MAX_BATCH = 32
"""Maximum number of images that one call of the engine computes, each in all views."""


class MultiViewEngine:
    """Normalises images, runs an engine on every view of them, and averages the results.

    Methods are thread-safe, as those of the engine.

    Args:
        engine: The engine.
        spec: Input size and normalisation.
        views: Test-time augmentations, at least one.
    """

    def __init__(
        self, engine: Engine | IsolatedEngine, spec: InputSpec, views: Sequence[View]
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._views = views

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """Compute logits and embeddings of images, averaged over all views.

        Args:
            images: Shape (n, height, width, 3), uint8, RGB, of the input size; n at least 1.
        """
        parts = [self._engine.run(batch) for batch in self._batches(images)]
        return Outputs(
            np.concatenate([self._by_view(part.logits).mean(axis=0) for part in parts]),
            np.concatenate([self._by_view(part.embedding).mean(axis=0) for part in parts]),
        )

    def outputs_of_crops(self, photos: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Compute logits and embeddings of photos, averaged over crops and views.

        Args:
            photos: The crops of each photo, shape (c, height, width, 3), uint8, RGB; c may differ.
        """
        outputs = self.outputs(np.concatenate(photos))
        counts = [len(crops) for crops in photos]
        if set(counts) == {1}:
            return outputs
        starts = np.cumsum([0, *counts[:-1]])
        divisors = np.asarray(counts, np.float32)[:, None]

        def means(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(np.add.reduceat(values, starts) / divisors, np.float32)

        return Outputs(means(outputs.logits), means(outputs.embedding))

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute class evidence maps, shape (n, h, w, k), averaged over all views.

        Args:
            images: As for `outputs`.
        """
        return self._mean_maps(images, self._engine.explain)

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute feature maps, shape (n, h, w, d), averaged over all views.

        Args:
            images: As for `outputs`.
        """
        return self._mean_maps(images, self._engine.features_of)

    def _mean_maps(
        self,
        images: NDArray[np.uint8],
        compute: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        means = []
        # One image at a time: some models allocate 100 MB for each, and the engine keeps the memory
        # of its largest batch.
        for image in images:
            (batch,) = self._batches(image[None])
            by_view = zip(self._by_view(compute(batch)), self._views, strict=True)
            means.append(np.mean([_undo_mirror(maps, view) for maps, view in by_view], axis=0))
        return np.concatenate(means)

    def _batches(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Yield normalised batches, ordered by view first and image second."""
        for start in range(0, len(images), MAX_BATCH):
            normalised = normalise(images[start : start + MAX_BATCH], self._spec)
            yield np.concatenate([_apply_view(normalised, view) for view in self._views])

    def _by_view(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Split the views from the batch axis: (v · n, ...) to (v, n, ...)."""
        return values.reshape(len(self._views), -1, *values.shape[1:])


def _apply_view(images: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Apply one view to normalised images of shape (n, h, w, 3)."""
    if view.startswith("mirror"):
        images = images[:, :, ::-1]
    if view.endswith("up_left"):
        return np.pad(images[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)), mode="reflect")
    if view.endswith("down_right"):
        return np.pad(images[:, :-1, :-1], ((0, 0), (1, 0), (1, 0), (0, 0)), mode="reflect")
    return images


def _undo_mirror(maps: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Undo the mirroring of a view's maps, shape (n, h, w, ...).

    Shifts are not undone: one pixel is much smaller than a cell of the maps.
    """
    return maps[:, :, ::-1] if view.startswith("mirror") else maps
