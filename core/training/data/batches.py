"""Batches of one epoch of a recipe without real photos: shuffled, augmented and normalised."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from core.photos.preprocess import InputSpec, normalise, resize
from core.settings import processors
from core.training.data.augment import cut_out, random_crops, random_resized_window
from core.training.data.datasets import Split
from core.training.recipe import Recipe

__all__ = ["Batches", "FixedBatches", "PrefetchDataset", "TrainingData"]

# Origin of an image in the table of an epoch.
_ROWS, _SHARP, _OUTLIERS = range(3)
_COARSE_SIDE = 32
_MIN_PREFETCHED_BATCHES = 3
# A class with a smaller fraction of the sharp images counts as absent from them.
_MIN_CLASS_FRACTION = 0.01

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingData:
    """Training images of a recipe without real photos.

    Attributes:
        rows: Training rows of the data set.
        sharp: Sharper images of some of its classes, with its labels.
        outliers: Images of none of its classes; their labels are not used.
        extra: Description of the images that the user added, which identifies them.
    """

    rows: Split
    sharp: Split | None = None
    outliers: Split | None = None
    extra: str = ""

    def __len__(self) -> int:
        return sum(len(part) for part in (self.rows, self.sharp, self.outliers) if part)


class PrefetchDataset(keras.utils.PyDataset):  # type: ignore[misc]  # keras is not typed
    """Batches that threads prepare while the network is trained on earlier ones.

    The workers of Keras are not used: on JAX, Keras restarts an epoch after inspecting its first
    batches, and its workers do not restart.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(processors())
        self._prefetched = max(_MIN_PREFETCHED_BATCHES, processors())
        self._pending: dict[int, Future[Batch]] = {}

    def __getitem__(self, i: int) -> Batch:
        for j in range(i, min(i + self._prefetched + 1, len(self))):
            if j not in self._pending:
                self._pending[j] = self._threads.submit(self.batch, j)
        return self._pending.pop(i).result()

    def batch(self, i: int) -> Batch:
        """Compute a batch: inputs, shape (n, ...), float32, and targets, shape (n, k), float32."""
        raise NotImplementedError


class Batches(PrefetchDataset):
    """Shuffled, augmented and normalised batches of one epoch.

    The same (seed, epoch) always gives the same batches, so that a resumed run continues as an
    uninterrupted one would have. Targets, shape (k,) for each image, are

    - one-hot for a row;
    - one-hot for a sharp image, with -1 at the classes that have no sharp images, which the loss
      ignores (see `PartialCrossentropy`);
    - uniform for an outlier, with the sum `outlier_weight`.

    Args:
        data: Training images.
        recipe: Augmentation, batch size and image size.
        classes: Number of classes, k.
        seed: Seed of the run.
        epoch: Number of the epoch, counted from 1.
    """

    def __init__(
        self, data: TrainingData, recipe: Recipe, classes: int, seed: int, epoch: int
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._classes = classes
        self._key = (seed, epoch)
        self._spec = recipe.input_at(epoch)
        rng = np.random.default_rng(self._key)
        self._data = data
        origins = (data.rows, data.sharp, data.outliers)
        indices = [np.arange(len(part) if part else 0) for part in origins]
        indices[_OUTLIERS] = rng.permutation(indices[_OUTLIERS])[: recipe.outliers_per_epoch]
        if data.sharp is not None:
            counts = np.bincount(data.sharp.labels, minlength=classes)
            self._absent = np.flatnonzero(counts < _MIN_CLASS_FRACTION * len(data.sharp))
        # One entry for each image of the epoch: its origin, and its index there.
        table = np.concatenate(
            [np.stack([np.full(len(index), i), index], axis=1) for i, index in enumerate(indices)]
        )
        self._order = table[rng.permutation(len(table))]
        self._flipped_first = np.random.default_rng(seed).random(len(data.rows)) < 0.5

    def __len__(self) -> int:
        return len(self._order) // self._recipe.batch_size

    def batch(self, i: int) -> Batch:
        """Compute a batch of normalised images, shape (n, h, w, 3), and targets, shape (n, k)."""
        size = self._recipe.batch_size
        rng = np.random.default_rng((*self._key, 1 + i))
        images = np.empty((size, self._spec.height, self._spec.width, 3), np.uint8)
        targets = np.empty((size, self._classes), np.float32)
        one_hot = np.eye(self._classes, dtype=np.float32)
        origins, indices = self._order[i * size : (i + 1) * size].T
        if (rows := origins == _ROWS).any():
            subset = self._data.rows.take(indices[rows])
            images[rows] = self._augmented_rows(subset.images, indices[rows], rng)
            targets[rows] = one_hot[subset.labels]
        if self._data.sharp is not None and (sharp := np.flatnonzero(origins == _SHARP)).size:
            subset = self._data.sharp.take(indices[sharp])
            images[sharp], coarse = self._augmented_sharp(subset.images, rng)
            targets[sharp] = one_hot[subset.labels]
            # Images that were reduced to the detail of the rows may count against every class.
            # Sharp ones exist for some classes only; without this, sharpness itself would become
            # evidence against the absent classes.
            targets[np.ix_(sharp[~coarse], self._absent)] = -1
            # The few sharp images of those classes still count for their label.
            targets[sharp, subset.labels] = 1
        if self._data.outliers is not None and (others := origins == _OUTLIERS).any():
            subset = self._data.outliers.take(indices[others])
            images[others], _ = self._augmented_sharp(subset.images, rng)
            targets[others] = self._recipe.outlier_weight / self._classes
        inputs = normalise(images, self._recipe.input)
        if self._recipe.cutout:
            cut_out(inputs, round(self._recipe.cutout * self._spec.height / 32), rng)
        return inputs, targets

    def _augmented_rows(
        self, images: NDArray[np.uint8], indices: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Crop and flip rows at random, and resize them to the size of the epoch."""
        if self._recipe.crop_padding:
            images = random_crops(images, self._recipe.crop_padding, rng)
        if self._recipe.flip is not None:
            if self._recipe.flip == "alternating":
                flipped = self._flipped_first[indices] ^ (self._key[1] % 2 == 0)
            else:
                flipped = rng.random(len(images)) < 0.5
            images = np.where(flipped[:, None, None, None], images[:, :, ::-1], images)
        if images.shape[1:3] == (self._spec.height, self._spec.width):
            return images
        return np.stack([resize(image, self._spec) for image in images])

    def _augmented_sharp(
        self, images: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Crop and flip images at random, and reduce half of them to the detail of 32 pixels.

        Returns:
            Images of the size of the epoch, and which of them were reduced, shape (n,).
        """
        coarse = rng.random(len(images)) < 0.5
        low = self._spec.model_copy(update={"height": _COARSE_SIDE, "width": _COARSE_SIDE})
        augmented = np.empty((len(images), self._spec.height, self._spec.width, 3), np.uint8)
        for i, image in enumerate(images):
            window = random_resized_window(image, rng)
            if rng.random() < 0.5:
                window = window[:, ::-1]
            augmented[i] = resize(resize(window, low) if coarse[i] else window, self._spec)
        return augmented, coarse


class FixedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is not typed
    """Rows in their order, preprocessed as in serving, with one-hot targets.

    Args:
        split: Rows.
        spec: Size and normalisation.
        classes: Number of classes, k.
    """

    _BATCH_SIZE = 250

    def __init__(self, split: Split, spec: InputSpec, classes: int) -> None:
        super().__init__()
        self._split = split
        self._spec = spec
        self._classes = classes

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._BATCH_SIZE)

    def __getitem__(self, i: int) -> Batch:
        rows = slice(i * self._BATCH_SIZE, (i + 1) * self._BATCH_SIZE)
        images = np.stack([resize(image, self._spec) for image in self._split.images[rows]])
        targets = np.eye(self._classes, dtype=np.float32)[self._split.labels[rows]]
        return normalise(images, self._spec), targets
