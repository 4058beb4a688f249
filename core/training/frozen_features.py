"""Features of random views of all training images from a frozen network, stored on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from core.output import replacing
from core.training.data.photo_batches import BatchSampler, LabelledImages, PhotoTrainingData
from core.training.data.photo_views import PhotoViews
from core.training.embedder import Embedder
from core.training.export.evidence_maps import EMBEDDING

__all__ = ["FrozenFeatures", "compute_features", "head_input"]

_FEATURES = "features"
_VECTOR_RANK = 2  # number of dimensions of a batch of vectors

_CHUNK_IMAGES = 500
_MIN_DEVIATION = 0.01

Images = list[NDArray[np.uint8]]
Features = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """Features of several views of all training images.

    Attributes:
        rows: Features of the rows, shape (n, d), float16, for each view.
        photos: Features of the photos, shape (m, d), float16, for each view.
        mean: Mean of each feature, shape (d,), float32.
        deviation: Standard deviation of each feature, at least 0.01, shape (d,), float32.
    """

    rows: tuple[Features, ...]
    photos: tuple[Features, ...]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.mean)

    def standardised(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scale features, shape (n, d), to mean 0 and standard deviation 1."""
        return np.asarray((features - self.mean) / self.deviation, np.float32)

    def batch(self, sampler: BatchSampler, i: int) -> NDArray[np.float32]:
        """Return the standardised features of a batch, in a random view of each image.

        Args:
            sampler: Draws the images of each batch.
            i: Number of the batch, counted from 0.

        Returns:
            Array of shape (n, d), float32: rows first, then photos.
        """
        rows, photos, rng = sampler.draw(i)
        features = [
            views[rng.integers(len(views))][index]
            for views, indices in ((self.rows, rows), (self.photos, photos))
            for index in indices
        ]
        return self.standardised(np.stack(features).astype(np.float32))


def head_input(model: keras.Model) -> str:
    """Return the name of the layer whose output the head of a frozen network is trained on.

    Args:
        model: A network with a layer `features`; where that is a feature map, the head is trained
            on its mean, the layer `embedding`.
    """
    vectors = len(model.get_layer(_FEATURES).output.shape) == _VECTOR_RANK
    return _FEATURES if vectors else EMBEDDING


def compute_features(
    embedder: Embedder,
    data: PhotoTrainingData,
    views: PhotoViews,
    count: int,
    seed: int,
    folder: Path,
) -> FrozenFeatures:
    """Compute features, or read those that an earlier call stored.

    Args:
        embedder: Computes features.
        data: Training images.
        views: Random views.
        count: Number of views of each image.
        seed: Seed of the views.
        folder: Folder of the stored features, two files for each view; created if needed. It must
            be specific to these images, views and weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = data.photos.images

    def row_features(view: int) -> Features:
        def make_views(start: int, rng: np.random.Generator) -> Images:
            chunk = data.rows.images[start : start + _CHUNK_IMAGES]
            return _flip_randomly(views.rows(chunk, rng), rng)

        return _load_or_compute(
            folder / f"rows-{view}.npy", embedder, len(data.rows), make_views, (seed, view)
        )

    def photo_features(view: int) -> Features:
        def make_views(start: int, rng: np.random.Generator) -> Images:
            chunk = photos[start : start + _CHUNK_IMAGES]
            return _flip_randomly([views.photo(image, rng) for image in chunk], rng)

        return _load_or_compute(
            folder / f"photos-{view}.npy", embedder, len(photos), make_views, (seed, view, 1)
        )

    row_views = tuple(row_features(view) for view in range(count))
    photo_views = tuple(photo_features(view) for view in range(count))
    first = np.concatenate([row_views[0], photo_views[0]]).astype(np.float32)
    deviation = np.maximum(first.std(axis=0), np.float32(_MIN_DEVIATION))
    return FrozenFeatures(row_views, photo_views, first.mean(axis=0), deviation)


def _load_or_compute(
    file: Path,
    embedder: Embedder,
    n: int,
    make_views: Callable[[int, np.random.Generator], Images],
    key: tuple[int, ...],
) -> Features:
    """Read the features of a view, or compute them and write the file."""
    if not file.is_file():
        parts = []
        for start in range(0, n, _CHUNK_IMAGES):
            images = make_views(start, np.random.default_rng((*key, 2**31 + start)))
            embeddings = embedder.embed(LabelledImages(images, np.zeros(len(images), np.int64)))
            parts.append(embeddings.astype(np.float16))
        with replacing(file) as new, new.open("wb") as content:
            np.save(content, np.concatenate(parts))
    features: Features = np.load(file, mmap_mode="r")
    return features


def _flip_randomly(images: Images, rng: np.random.Generator) -> Images:
    return [image[:, ::-1] if rng.random() < 0.5 else image for image in images]
