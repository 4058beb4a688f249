"""Batches of one epoch: shuffled, augmented, normalised; and what they mean to the loss."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from core.photos.preprocess import InputSpec, normalise, resize
from core.settings import processors
from core.training.data.augment import cut_out, random_crops, random_window
from core.training.data.datasets import Split
from core.training.recipes import Recipe

__all__ = [
    "Batches",
    "FixedBatches",
    "LabelledAccuracy",
    "PartialCrossentropy",
    "PrefetchDataset",
    "TrainingData",
]

# Whose an image is.
_ROWS, _PHOTOS, _OUTLIERS = range(3)
_COARSE_SIDE = 32
_AHEAD = 3
# Of all photos: a class with fewer counts as one that photos do not show.
_FEW = 0.01


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        rows: The data set's own.
        photos: Sharper images of some of its classes, with its labels.
        outliers: Images of none of its classes; their labels say nothing.
        extra: What of these was brought by whoever trains, in words that tell it from any other.
    """

    rows: Split
    photos: Split | None = None
    outliers: Split | None = None
    extra: str = ""

    def __len__(self) -> int:
        return sum(len(part) for part in (self.rows, self.photos, self.outliers) if part)


class PrefetchDataset(keras.utils.PyDataset):  # type: ignore[misc]  # keras is not typed
    """Batches that threads make while the network learns from earlier ones.

    Keras has such workers too, but when it begins anew, as it does on JAX after a look at the first
    batches, theirs do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(processors())
        self._coming: dict[int, Future[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}

    def __getitem__(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        for j in range(i, min(i + _AHEAD + 1, len(self))):
            if j not in self._coming:
                self._coming[j] = self._threads.submit(self.batch, j)
        return self._coming.pop(i).result()

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one: normalised images, shape (n, h, w, 3), and their targets, shape (n, k)."""
        raise NotImplementedError


class Batches(PrefetchDataset):
    """Shuffled, augmented, normalised batches of one epoch, with targets for the loss.

    The same (seed, epoch) always gives the same batches, so a resumed run sees what an unbroken one
    would have seen.

    A row's targets, shape (k,), are 1 at its label; for an outlier the same share everywhere, of
    its weight; and for a sharp photo -1 at the classes that photos do not show, which are to be
    left out (see `PartialCrossentropy`).
    """

    def __init__(
        self, material: TrainingData, recipe: Recipe, classes: int, seed: int, epoch: int
    ) -> None:
        super().__init__()
        self._recipe = recipe
        self._classes = classes
        self._key = (seed, epoch)
        self._spec = recipe.seen(epoch)
        rng = np.random.default_rng(self._key)
        self._material = material
        everything = (material.rows, material.photos, material.outliers)
        places = [np.arange(len(part) if part else 0) for part in everything]
        places[_OUTLIERS] = rng.permutation(places[_OUTLIERS])[: recipe.outliers]
        if material.photos is not None:
            counts = np.bincount(material.photos.labels, minlength=classes)
            self._absent = np.flatnonzero(counts < _FEW * len(material.photos))
        # One entry a row of this epoch: whose it is, and its place there.
        table = np.concatenate(
            [np.stack([np.full(len(p), i), p], axis=1) for i, p in enumerate(places)]
        )
        self._order = table[rng.permutation(len(table))]
        self._turned = np.random.default_rng(seed).random(len(material.rows)) < 0.5

    def __len__(self) -> int:
        return len(self._order) // self._recipe.batch_size

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One of them."""
        size = self._recipe.batch_size
        chosen = self._order[i * size : (i + 1) * size]
        rng = np.random.default_rng((*self._key, 1 + i))
        images = np.empty((size, self._spec.height, self._spec.width, 3), np.uint8)
        targets = np.empty((size, self._classes), np.float32)
        labels = np.eye(self._classes, dtype=np.float32)
        whose, places = chosen.T
        if (rows := whose == _ROWS).any():
            some = self._material.rows.take(places[rows])
            images[rows] = self._rows(some.images, places[rows], rng)
            targets[rows] = labels[some.labels]
        if self._material.photos is not None and (photos := np.flatnonzero(whose == _PHOTOS)).size:
            some = self._material.photos.take(places[photos])
            images[photos], coarse = self._photos(some.images, rng)
            targets[photos] = labels[some.labels]
            # Brought down they look like the rows, so they may speak against every class. Sharp
            # ones are of some classes only: sharpness itself would speak against the others.
            targets[np.ix_(photos[~coarse], self._absent)] = -1
            # The few that show one of those classes all the same still teach it.
            targets[photos, some.labels] = 1
        if self._material.outliers is not None and (others := whose == _OUTLIERS).any():
            some = self._material.outliers.take(places[others])
            images[others], _ = self._photos(some.images, rng)
            targets[others] = self._recipe.outlier_weight / self._classes
        inputs = normalise(images, self._recipe.input)
        if self._recipe.cutout:
            cut_out(inputs, round(self._recipe.cutout * self._spec.height / 32), rng)
        return inputs, targets

    def _rows(
        self, images: NDArray[np.uint8], places: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        if self._recipe.crop_padding:
            images = random_crops(images, self._recipe.crop_padding, rng)
        if self._recipe.flip is not None:
            if self._recipe.flip == "alternating":
                mirrored = self._turned[places] ^ (self._key[1] % 2 == 0)
            else:
                mirrored = rng.random(len(images)) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        if images.shape[1:3] == (self._spec.height, self._spec.width):
            return images
        return np.stack([resize(image, self._spec) for image in images])

    def _photos(
        self, images: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Random windows, mirrored at random; and which were brought down to the rows' detail."""
        coarse = rng.random(len(images)) < 0.5
        low = self._spec.model_copy(update={"height": _COARSE_SIDE, "width": _COARSE_SIDE})
        made = np.empty((len(images), self._spec.height, self._spec.width, 3), np.uint8)
        for i, image in enumerate(images):
            window = random_window(image, rng)
            if rng.random() < 0.5:
                window = window[:, ::-1]
            made[i] = resize(resize(window, low) if coarse[i] else window, self._spec)
        return made, coarse


class FixedBatches(keras.utils.PyDataset):  # type: ignore[misc]  # keras is not typed
    """Rows in their order as serving would see them, with one-hot targets."""

    _SIZE = 250

    def __init__(self, split: Split, spec: InputSpec, classes: int) -> None:
        super().__init__()
        self._split = split
        self._spec = spec
        self._classes = classes

    def __len__(self) -> int:
        return math.ceil(len(self._split) / self._SIZE)

    def __getitem__(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = slice(i * self._SIZE, (i + 1) * self._SIZE)
        images = np.stack([resize(image, self._spec) for image in self._split.images[rows]])
        targets = np.eye(self._classes, dtype=np.float32)[self._split.labels[rows]]
        return normalise(images, self._spec), targets


@keras.saving.register_keras_serializable("tensight")
class PartialCrossentropy(keras.losses.Loss):  # type: ignore[misc]  # keras is not typed
    """Cross-entropy from logits, in nats, over those classes alone whose target is not negative.

    Args:
        label_smoothing: Share of a row's weight that is spread over those classes, 0 to 1.
    """

    def __init__(
        self, label_smoothing: float = 0.0, name: str = "partial_crossentropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self._label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each row: (n, k) and (n, k) to (n,)."""
        taking_part = ops.cast(y_true >= 0, y_pred.dtype)
        targets = ops.maximum(y_true, 0)
        weight = ops.sum(targets, axis=-1, keepdims=True)
        even = weight * taking_part / ops.sum(taking_part, axis=-1, keepdims=True)
        targets = (1 - self._label_smoothing) * targets + self._label_smoothing * even
        logs = ops.log_softmax(ops.where(taking_part > 0, y_pred, -1e9), axis=-1)
        return -ops.sum(targets * ops.where(taking_part > 0, logs, 0.0), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {"label_smoothing": self._label_smoothing}


@keras.saving.register_keras_serializable("tensight")
class LabelledAccuracy(keras.metrics.Mean):  # type: ignore[misc]  # keras is not typed
    """Share of the rows with a label, so of no outlier, that have their largest logit there."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: object = None) -> None:
        """Count a batch: (n, k) and (n, k)."""
        del sample_weight
        labelled = ops.cast(ops.max(y_true, axis=-1) > 0.5, "float32")
        right = ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1))
        super().update_state(ops.cast(right, "float32"), sample_weight=labelled)
