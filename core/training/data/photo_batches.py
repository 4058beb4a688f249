"""Batches of a data set's rows and real photos together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.photos.preprocess import InputSpec, normalise, resize
from core.training.data.batches import PrefetchDataset
from core.training.data.datasets import Split
from core.training.data.photo_views import PhotoViews
from core.training.data.real_photos import RealPhotos
from core.training.photo_plan import PhotoPlan

__all__ = ["BatchSampler", "LabelledBatches", "LabelledImages", "PhotoBatches", "PhotoTrainingData"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of any size with labels.

    Attributes:
        images: n arrays of shape (h, w, 3), uint8.
        labels: Shape (n,), int64.
    """

    images: Sequence[NDArray[np.uint8]]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: LabelledImages) -> LabelledImages:
        """Return the images of both."""
        return LabelledImages(
            [*self.images, *other.images], np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True, eq=False)
class PhotoTrainingData:
    """What a run with a `PhotoPlan` learns from.

    Attributes:
        rows: Rows of the data set.
        photos: Real photos of its labels and of none; the label of these is the number of labels.
        extra: Which of these whoever trains brought, in words that tell them from any others.
    """

    rows: Split
    photos: RealPhotos
    extra: str = ""

    def probed(self, rows: int, seed: int) -> LabelledImages:
        """Return what a linear head is fitted on: all photos, and some rows at random.

        Args:
            rows: How many; all, if there are fewer.
            seed: What the choice depends on.
        """
        chosen = np.random.default_rng(seed).permutation(len(self.rows))[:rows]
        some = self.rows.take(chosen)
        photos = LabelledImages(self.photos.images, self.photos.labels)
        return photos.joined(LabelledImages(list(some.images), some.labels))


class LabelledBatches(PrefetchDataset):
    """Images in their order as serving would present them, with one-hot targets.

    Args:
        data: The images.
        spec: How they are brought to their size and normalised.
        classes: Length of a target.
    """

    _SIZE = 50

    def __init__(self, data: LabelledImages, spec: InputSpec, classes: int) -> None:
        super().__init__()
        self._data = data
        self._spec = spec
        self._classes = classes

    def __len__(self) -> int:
        return math.ceil(len(self._data) / self._SIZE)

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one of them."""
        some = slice(i * self._SIZE, (i + 1) * self._SIZE)
        images = np.stack([resize(image, self._spec) for image in self._data.images[some]])
        targets = np.eye(self._classes, dtype=np.float32)[self._data.labels[some]]
        return normalise(images, self._spec), targets


class BatchSampler:
    """What each batch of an epoch is made of.

    Every batch has the same numbers of rows, of photos of the labels and of photos of none. The
    same (seed, epoch) always gives the same batches.

    Args:
        material: What to draw from.
        plan: The shares of a batch.
        rows: Rows that the epoch takes; all, if there are fewer.
        batch_size: Images in a batch.
        key: Seed and epoch, which the random choices depend on.
    """

    def __init__(
        self,
        material: PhotoTrainingData,
        plan: PhotoPlan,
        rows: int,
        batch_size: int,
        key: tuple[int, int],
    ) -> None:
        labels = material.photos.labels
        self.none = int(labels.max())
        self._key = key
        self._known = round(plan.known_share * batch_size)
        self._others = round(plan.none_share * batch_size)
        self._rows = batch_size - self._known - self._others
        self._order = np.random.default_rng(key).permutation(len(material.rows))[:rows]
        self._by_label = [
            np.flatnonzero(labels == label) for label in np.unique(labels) if label != self.none
        ]
        self._of_none = np.flatnonzero(labels == self.none)
        near = np.isin(material.photos.kinds[self._of_none], plan.near_kinds)
        weights = np.where(near, plan.near_weight, 1.0)
        self._chances = weights / weights.sum()

    def __len__(self) -> int:
        return len(self._order) // self._rows

    def draw(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
        """Return the places of a batch's rows and of its photos, and a source of more chance."""
        rng = np.random.default_rng((*self._key, 1 + i))
        labels = rng.permutation(np.arange(self._known) + rng.integers(len(self._by_label)))
        chosen = [rng.choice(self._by_label[label % len(self._by_label)]) for label in labels]
        chosen += rng.choice(self._of_none, self._others, p=self._chances).tolist()
        rows = self._order[i * self._rows : (i + 1) * self._rows]
        return rows, np.asarray(chosen, np.int64), rng


class PhotoBatches(PrefetchDataset):
    """Shuffled, augmented, normalised batches of one epoch, with one-hot targets.

    Args:
        material: What to draw from.
        plan: The shares of a batch and of the augmentations.
        spec: Size and normalisation of the epoch's images.
        rows: Rows that the epoch takes; all, if there are fewer.
        batch_size: Images in a batch.
        crop_padding: Width of the reflected border that rows are cropped from, pixels.
        seed, epoch: What the random choices depend on.
    """

    def __init__(
        self,
        material: PhotoTrainingData,
        plan: PhotoPlan,
        spec: InputSpec,
        *,
        rows: int,
        batch_size: int,
        crop_padding: int,
        seed: int,
        epoch: int,
    ) -> None:
        super().__init__()
        self._material = material
        self._spec = spec
        self._views = PhotoViews(plan, spec, crop_padding)
        self._draws = BatchSampler(material, plan, rows, batch_size, (seed, epoch))

    def __len__(self) -> int:
        return len(self._draws)

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one of them."""
        places, chosen, rng = self._draws.draw(i)
        rows, photos = self._material.rows.take(places), self._material.photos
        large = [self._views.of_photo(photos.images[place], rng) for place in chosen]
        images = np.stack([*self._views.of_rows(rows.images, rng), *large])
        mirrored = rng.random(len(images)) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        truth = np.concatenate([rows.labels, photos.labels[chosen]])
        return normalise(images, self._spec), np.eye(self._draws.none + 1, dtype=np.float32)[truth]
