"""Features that a network which is held fast gives of random views, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.output import replacing
from core.training.data.photo_batches import BatchSampler, LabelledImages, PhotoTrainingData
from core.training.data.photo_views import PhotoViews
from core.training.embedder import Embedder

__all__ = ["FEATURES", "FrozenFeatures", "compute_features"]

FEATURES = "features"
"""Name of the layer that gives them."""

_CHUNK = 500
_LEAST_DEVIATION = 0.01

Images = list[NDArray[np.uint8]]
Features = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """Features of several views of all images.

    Attributes:
        rows: For each view shape (n, d), of the rows.
        photos: Likewise, of the photos.
        mean: Of each feature, shape (d,), float32.
        deviation: Standard deviation of each, at least .01, shape (d,), float32.
    """

    rows: tuple[Features, ...]
    photos: tuple[Features, ...]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.mean)

    def standardised(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return features, shape (n, d), with mean 0 and deviation 1."""
        return np.asarray((features - self.mean) / self.deviation, np.float32)

    def batch(self, draws: BatchSampler, i: int) -> NDArray[np.float32]:
        """Return the features of a batch, each image in one of its views, standardised."""
        rows, photos, rng = draws.draw(i)
        taken = [
            views[rng.integers(len(views))][place]
            for views, places in ((self.rows, rows), (self.photos, photos))
            for place in places
        ]
        return self.standardised(np.stack(taken).astype(np.float32))


def compute_features(
    embedder: Embedder,
    material: PhotoTrainingData,
    views: PhotoViews,
    count: int,
    seed: int,
    folder: Path,
) -> FrozenFeatures:
    """Compute features, or read those that were computed before.

    Args:
        embedder: Gives the features of images.
        material: The images.
        views: Makes their random views.
        count: Number of views of each image.
        seed: Of the views.
        folder: Where they are kept, a file a view; made if needed. It must belong to these images,
            views and weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photos = material.photos.images

    def rows_of(view: int) -> Features:
        def made(start: int, rng: np.random.Generator) -> Images:
            some = material.rows.images[start : start + _CHUNK]
            return _mirrored(views.of_rows(some, rng), rng)

        return _kept(folder / f"rows-{view}.npy", embedder, len(material.rows), made, (seed, view))

    def photos_of(view: int) -> Features:
        def made(start: int, rng: np.random.Generator) -> Images:
            some = photos[start : start + _CHUNK]
            return _mirrored([views.of_photo(image, rng) for image in some], rng)

        return _kept(folder / f"photos-{view}.npy", embedder, len(photos), made, (seed, view, 1))

    of_rows = tuple(rows_of(view) for view in range(count))
    of_photos = tuple(photos_of(view) for view in range(count))
    first = np.concatenate([of_rows[0], of_photos[0]]).astype(np.float32)
    deviation = np.maximum(first.std(axis=0), np.float32(_LEAST_DEVIATION))
    return FrozenFeatures(of_rows, of_photos, first.mean(axis=0), deviation)


def _kept(
    file: Path,
    embedder: Embedder,
    n: int,
    made: Callable[[int, np.random.Generator], Images],
    key: tuple[int, ...],
) -> Features:
    """Return what a file holds, or compute it and write the file."""
    if not file.is_file():
        parts = []
        for start in range(0, n, _CHUNK):
            images = made(start, np.random.default_rng((*key, 2**31 + start)))
            found = embedder.embed(LabelledImages(images, np.zeros(len(images), np.int64)))
            parts.append(found.astype(np.float16))
        with replacing(file) as new, new.open("wb") as content:
            np.save(content, np.concatenate(parts))
    features: Features = np.load(file, mmap_mode="r")
    return features


def _mirrored(images: Images, rng: np.random.Generator) -> Images:
    return [image[:, ::-1] if rng.random() < 0.5 else image for image in images]
