"""Training data of a recipe: rows, Tiny ImageNet, real photos and the user's own photos."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Pretrained
from core.photos.preprocess import resize
from core.settings import Settings
from core.training.data.batches import TrainingData
from core.training.data.datasets import Dataset, Split
from core.training.data.labelled_photos import load_own_photos, load_own_splits
from core.training.data.photo_batches import PhotoTrainingData
from core.training.data.real_photos import RealPhotos
from core.training.data.tiny_imagenet import TINY_HUB_REPO, load_tiny_imagenet
from core.training.recipe import Recipe

__all__ = [
    "describe_photo_training_data",
    "describe_training_data",
    "hub_names",
    "load_photo_training_data",
    "load_training_data",
]


def load_training_data(
    recipe: Recipe,
    learn: Split,
    settings: Settings,
    extra: Path | None,
    labels: tuple[str, ...],
) -> TrainingData:
    """Load the training data of a recipe without a plan.

    Args:
        recipe: The recipe.
        learn: Learning rows of the data set.
        settings: `data` is used.
        extra: Folder of the user's own photos, if any; those of none of the labels are used only by
            recipes with outliers.
        labels: Labels of the data set.

    Raises:
        DataError: Images are missing or damaged.
    """
    sharp = outliers = None
    if recipe.tiny_imagenet or recipe.outliers_per_epoch:
        tiny = load_tiny_imagenet(settings)
        sharp = tiny.same_classes if recipe.tiny_imagenet else None
        outliers = tiny.outliers if recipe.outliers_per_epoch else None
    if extra is None:
        return TrainingData(learn, sharp, outliers)
    known, none = load_own_splits(extra, labels)
    if sharp is not None:
        sharp = sharp.concat(known)
    else:
        # A recipe without sharp images gets the photos at the resolution of its rows.
        height, width = learn.images.shape[1:3]
        row_spec = recipe.input.model_copy(update={"height": height, "width": width})
        scaled = [resize(image, row_spec) for image in known.images]
        images = np.asarray(scaled, np.uint8).reshape(-1, height, width, 3)
        learn = learn.concat(replace(known, images=images))
    used = len(known)
    if outliers is not None:
        outliers, used = outliers.concat(none), used + len(none)
    digest = hashlib.sha256()
    for split in (known, none):
        digest.update(split.images.tobytes() + split.labels.tobytes())
    description = _describe_own_photos(used, digest.hexdigest())
    if unused := len(known) + len(none) - used:
        description += f"; without {unused} of none of the classes, which this recipe cannot use"
    return TrainingData(learn, sharp, outliers, description)


def load_photo_training_data(
    learn: Split, photos: RealPhotos, extra: Path | None, labels: tuple[str, ...]
) -> PhotoTrainingData:
    """Load the training data of a recipe with a plan.

    Args:
        learn: Learning rows of the data set.
        photos: Real photos.
        extra: Folder of the user's own photos, if any.
        labels: Labels of the data set.

    Raises:
        DataError: labels.csv of `extra` is invalid, or a photo cannot be read.
    """
    if extra is None:
        return PhotoTrainingData(learn, photos)
    own = load_own_photos(extra, labels)
    description = _describe_own_photos(len(own), _digest(own.labels, own.images))
    return PhotoTrainingData(learn, photos.concat(own), description)


def describe_training_data(data: TrainingData, recipe: Recipe, dataset: Dataset) -> str:
    """Describe the training data of a recipe without a plan, for people.

    Args:
        data: Training data.
        recipe: The recipe.
        dataset: Data set of the rows.
    """
    parts = [f"{dataset.name}, {len(data.rows):,} train rows"]
    if data.sharp is not None:
        parts.append(f"Tiny ImageNet, {len(data.sharp):,} train images of the same classes")
    if data.outliers is not None:
        parts.append(
            f"{len(data.outliers):,} of other classes ({recipe.outliers_per_epoch:,} per epoch)"
        )
    if data.extra:
        parts.append(f"including {data.extra}")
    return "; ".join(parts)


def describe_photo_training_data(data: PhotoTrainingData, real: RealPhotos, dataset: str) -> str:
    """Describe the training data of a recipe with a plan, for people.

    Args:
        data: Training data.
        real: Its real photos without the user's own.
        dataset: Name of the data set.
    """
    count, known = len(data.photos), int(data.photos.known.sum())
    parts = [
        f"{dataset}, {len(data.rows):,} train rows",
        f"{count:,} real photos of {len(np.unique(real.sources))} sources, "
        f"{known:,} of the labels and {count - known:,} of other objects",
    ]
    if data.extra:
        parts.append(f"including {data.extra}")
    return "; ".join(parts)


def hub_names(
    data: TrainingData, dataset: Dataset, pretrained: Pretrained | None
) -> tuple[str, ...]:
    """Return the Hub names of the data sets that a model was trained on.

    Args:
        data: Training data.
        dataset: Data set of the rows.
        pretrained: Pretrained weights of VGG16, if any.
    """
    tiny = data.sharp is not None or data.outliers is not None
    names = [dataset.hub, TINY_HUB_REPO if tiny else None]
    names += pretrained.datasets if pretrained else ()
    return tuple(dict.fromkeys(name for name in names if name))


def _describe_own_photos(count: int, digest: str) -> str:
    return f"{count} photos of the user's own (SHA-256 {digest[:12]})"


def _digest(labels: NDArray[np.int64], images: Sequence[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256(labels.tobytes())
    for image in images:
        digest.update(image.tobytes())
    return digest.hexdigest()
