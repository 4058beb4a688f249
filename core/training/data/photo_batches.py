"""Batches that mix rows of a data set with real photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.photos.preprocess import InputSpec, normalise, resize
from core.training.data.augment import cut_out
from core.training.data.batches import Batch, PrefetchDataset
from core.training.data.datasets import Split
from core.training.data.photo_views import PhotoViews
from core.training.data.real_photos import RealPhotos
from core.training.photo_plan import PhotoPlan

__all__ = ["BatchSampler", "LabelledBatches", "LabelledImages", "PhotoBatches", "PhotoTrainingData"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of any size with labels.

    Attributes:
        images: n RGB images, each of shape (h, w, 3), uint8.
        labels: Class indices, shape (n,), int64.
    """

    images: Sequence[NDArray[np.uint8]]
    labels: NDArray[np.int64]

    @classmethod
    def from_split(cls, split: Split) -> LabelledImages:
        """Return the rows of a split."""
        return cls(list(split.images), split.labels)

    @classmethod
    def from_photos(cls, photos: RealPhotos) -> LabelledImages:
        """Return photos; the label of photos of none is the number of labels."""
        return cls(photos.images, photos.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def concat(self, other: LabelledImages) -> LabelledImages:
        """Append other images."""
        return LabelledImages(
            [*self.images, *other.images], np.concatenate([self.labels, other.labels])
        )


@dataclass(frozen=True, eq=False)
class PhotoTrainingData:
    """Training images of a recipe with a `PhotoPlan`.

    Attributes:
        rows: Training rows of the data set.
        photos: Real photos of its labels and of none; the label of the latter is the number of
            labels.
        extra: Description of the photos that the user added, which identifies them.
    """

    rows: Split
    photos: RealPhotos
    extra: str = ""

    def probe_images(self, rows: int, seed: int) -> LabelledImages:
        """Return the images that a linear probe is fitted on: all photos, and a sample of rows.

        Args:
            rows: Size of the sample; all rows if there are fewer.
            seed: Seed of the sample.
        """
        chosen = np.random.default_rng(seed).permutation(len(self.rows))[:rows]
        sample = LabelledImages.from_split(self.rows.take(chosen))
        return LabelledImages.from_photos(self.photos).concat(sample)


class LabelledBatches(PrefetchDataset):
    """Images in their order, preprocessed as in serving, with one-hot targets.

    Args:
        data: Images.
        spec: Size and normalisation.
        classes: Length of a target, k.
    """

    _BATCH_SIZE = 50

    def __init__(self, data: LabelledImages, spec: InputSpec, classes: int) -> None:
        super().__init__()
        self._data = data
        self._spec = spec
        self._classes = classes

    def __len__(self) -> int:
        return math.ceil(len(self._data) / self._BATCH_SIZE)

    def batch(self, i: int) -> Batch:
        """Compute a batch of normalised images, shape (n, h, w, 3), and targets, shape (n, k)."""
        batch_rows = slice(i * self._BATCH_SIZE, (i + 1) * self._BATCH_SIZE)
        images = np.stack([resize(image, self._spec) for image in self._data.images[batch_rows]])
        targets = np.eye(self._classes, dtype=np.float32)[self._data.labels[batch_rows]]
        return normalise(images, self._spec), targets


class BatchSampler:
    """Composition of the batches of an epoch.

    Every batch has the same number of rows, of photos of the labels and of photos of none. Classes
    of photos are sampled uniformly; photos of near kinds of none with a higher weight. The same key
    always gives the same batches.

    Args:
        data: Training images.
        plan: Fractions of a batch and sampling weights.
        rows: Number of rows in the epoch; all rows if there are fewer.
        batch_size: Images per batch.
        key: Seed and epoch.
    """

    def __init__(
        self,
        data: PhotoTrainingData,
        plan: PhotoPlan,
        rows: int,
        batch_size: int,
        key: tuple[int, int],
    ) -> None:
        labels = data.photos.labels
        self.none = int(labels.max())
        self._key = key
        self._known = round(plan.known_fraction * batch_size)
        self._others = round(plan.none_fraction * batch_size)
        self._rows = batch_size - self._known - self._others
        self._order = np.random.default_rng(key).permutation(len(data.rows))[:rows]
        self._by_label = [
            np.flatnonzero(labels == label) for label in np.unique(labels) if label != self.none
        ]
        self._none_indices = np.flatnonzero(labels == self.none)
        near = np.isin(data.photos.kinds[self._none_indices], plan.near_kinds)
        weights = np.where(near, plan.near_weight, 1.0)
        self._probabilities = weights / weights.sum()

    def __len__(self) -> int:
        return len(self._order) // self._rows

    def draw(self, i: int) -> tuple[NDArray[np.int64], NDArray[np.int64], np.random.Generator]:
        """Draw a batch.

        Returns:
            Indices of its rows and of its photos, shape (n,) each, int64, and the generator for its
            augmentations.
        """
        rng = np.random.default_rng((*self._key, 1 + i))
        labels = rng.permutation(np.arange(self._known) + rng.integers(len(self._by_label)))
        chosen = [rng.choice(self._by_label[label % len(self._by_label)]) for label in labels]
        chosen += rng.choice(self._none_indices, self._others, p=self._probabilities).tolist()
        rows = self._order[i * self._rows : (i + 1) * self._rows]
        return rows, np.asarray(chosen, np.int64), rng


class PhotoBatches(PrefetchDataset):
    """Shuffled, augmented and normalised batches of one epoch, with one-hot targets.

    Args:
        data: Training images.
        plan: Composition of a batch and augmentations.
        spec: Size and normalisation of the images of the epoch.
        rows: Number of rows in the epoch; all rows if there are fewer.
        batch_size: Images per batch.
        crop_padding: Width in pixels of the reflected border that rows are cropped from.
        cutout: Side of the square that is set to the mean, in pixels of a 32-pixel image; 0 for
            none.
        seed: Seed of the run.
        epoch: Number of the epoch, counted from 1.
    """

    def __init__(
        self,
        data: PhotoTrainingData,
        plan: PhotoPlan,
        spec: InputSpec,
        *,
        rows: int,
        batch_size: int,
        crop_padding: int,
        cutout: int,
        seed: int,
        epoch: int,
    ) -> None:
        super().__init__()
        self._data = data
        self._spec = spec
        self._cutout = round(cutout * spec.height / 32)
        self._views = PhotoViews(plan, spec, crop_padding)
        self._sampler = BatchSampler(data, plan, rows, batch_size, (seed, epoch))

    def __len__(self) -> int:
        return len(self._sampler)

    def batch(self, i: int) -> Batch:
        """Compute a batch of normalised images, shape (n, h, w, 3), and targets, shape (n, k)."""
        indices, chosen, rng = self._sampler.draw(i)
        rows, photos = self._data.rows.take(indices), self._data.photos
        photo_views = [self._views.photo(photos.images[index], rng) for index in chosen]
        images = np.stack([*self._views.rows(rows.images, rng), *photo_views])
        flipped = rng.random(len(images)) < 0.5
        images = np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
        truth = np.concatenate([rows.labels, photos.labels[chosen]])
        inputs = normalise(images, self._spec)
        if self._cutout:
            cut_out(inputs, self._cutout, rng)
        return inputs, np.eye(self._sampler.none + 1, dtype=np.float32)[truth]
