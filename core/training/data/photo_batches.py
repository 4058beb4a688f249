"""Batches of a data set's rows and real photos together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from core.photos.preprocess import InputSpec, normalise, resize
from core.training.data.augment import random_crops, random_window
from core.training.data.batches import Ahead
from core.training.data.datasets import Split
from core.training.data.real_photos import RealPhotos
from core.training.photo_plan import PhotoPlan

__all__ = ["LabelledBatches", "LabelledImages", "PhotoBatches", "PhotoMaterial"]


@dataclass(frozen=True, eq=False)
class PhotoMaterial:
    """What a run with a `PhotoPlan` learns from.

    Attributes:
        rows: Rows of the data set.
        photos: Real photos of its labels and of none; the label of these is the number of labels.
    """

    rows: Split
    photos: RealPhotos


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


class LabelledBatches(Ahead):
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


class PhotoBatches(Ahead):
    """Shuffled, augmented, normalised batches of one epoch, with one-hot targets.

    Every batch has the same numbers of rows, of photos of the labels and of photos of none. The
    same (seed, epoch) always gives the same batches.

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
        material: PhotoMaterial,
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
        self._plan = plan
        self._spec = spec
        self._crop_padding = crop_padding
        self._key = (seed, epoch)
        labels = material.photos.labels
        self._none = int(labels.max())
        self._known = round(plan.known_share * batch_size)
        self._others = round(plan.none_share * batch_size)
        self._rows = batch_size - self._known - self._others
        order = np.random.default_rng(self._key).permutation(len(material.rows))
        self._order = order[:rows]
        self._by_label = [
            np.flatnonzero(labels == label) for label in np.unique(labels) if label != self._none
        ]
        self._of_none = np.flatnonzero(labels == self._none)
        near = np.isin(material.photos.kinds[self._of_none], plan.near_kinds)
        weights = np.where(near, plan.near_weight, 1.0)
        self._chances = weights / weights.sum()

    def __len__(self) -> int:
        return len(self._order) // self._rows

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make one of them."""
        rng = np.random.default_rng((*self._key, 1 + i))
        rows = self._material.rows.take(self._order[i * self._rows : (i + 1) * self._rows])
        labels = rng.permutation(np.arange(self._known) + rng.integers(len(self._by_label)))
        chosen = [rng.choice(self._by_label[label % len(self._by_label)]) for label in labels]
        chosen += rng.choice(self._of_none, self._others, p=self._chances).tolist()
        photos = [self._photo(self._material.photos.images[place], rng) for place in chosen]
        images = np.stack([*self._of_rows(rows.images, rng), *photos])
        mirrored = rng.random(len(images)) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        truth = np.concatenate([rows.labels, self._material.photos.labels[chosen]])
        return normalise(images, self._spec), np.eye(self._none + 1, dtype=np.float32)[truth]

    def _of_rows(
        self, images: NDArray[np.uint8], rng: np.random.Generator
    ) -> list[NDArray[np.uint8]]:
        """Crop rows at random and enlarge them, some from fewer pixels, some sharpened."""
        made = []
        for image in random_crops(images, self._crop_padding, rng):
            way, whole = rng.random(), image
            if way < self._plan.shrunk:
                side = int(rng.integers(len(image) * 3 // 4, len(image)))
                whole = resize(image, self._sized(side))
            large = resize(whole, self._spec)
            if self._plan.shrunk <= way < self._plan.shrunk + self._plan.sharpened:
                sharp = ImageFilter.UnsharpMask(
                    radius=self._spec.height / len(image), percent=int(rng.integers(50, 151))
                )
                large = np.asarray(Image.fromarray(large).filter(sharp))
            made.append(large)
        return made

    def _photo(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Take a random window of a photo, and scale some down and up again."""
        window = random_window(image, rng)
        if rng.random() < self._plan.blurred:
            low, high = np.log(self._plan.blurred_sides)
            window = resize(window, self._sized(int(np.exp(rng.uniform(low, high)))))
        return resize(window, self._spec)

    def _sized(self, side: int) -> InputSpec:
        return self._spec.model_copy(update={"height": side, "width": side})
