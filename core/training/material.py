"""What a recipe learns from: rows, Tiny ImageNet, and photos that its user brings."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.bundle.config import Pretrained
from core.photos.preprocess import resize
from core.settings import Settings
from core.training.data.batches import TrainingData
from core.training.data.datasets import TINY_HUB_REPO, Dataset, Split, joined, load_tiny_imagenet
from core.training.data.photo_batches import PhotoTrainingData
from core.training.data.photos import learn_from_photos, read_own_photos
from core.training.data.real_photos import RealPhotos
from core.training.recipes import Recipe

__all__ = [
    "describe_training_data",
    "load_photo_training_data",
    "load_training_data",
    "name_datasets",
]


def load_training_data(
    recipe: Recipe,
    learn: Split,
    settings: Settings,
    extra: Path | None,
    labels: tuple[str, ...],
) -> TrainingData:
    """Read what a recipe without a plan for real photos learns from.

    Args:
        recipe: Whether it learns from Tiny ImageNet.
        learn: Rows of the data set.
        settings: `data` is used.
        extra: Folder of photos to learn from too; None: there is none.
        labels: Of the data set.

    Raises:
        DataError: Images that the recipe asks for are missing.
    """
    photos = outliers = None
    if recipe.photos or recipe.outliers:
        tiny = load_tiny_imagenet(settings)
        photos = tiny.same if recipe.photos else None
        outliers = tiny.outliers if recipe.outliers else None
    if extra is None:
        return TrainingData(learn, photos, outliers)
    known, none = learn_from_photos(extra, labels)
    if photos is not None:
        photos = joined(photos, known)
    else:
        # A recipe that takes no sharp photos gets them as small as its rows.
        height, width = learn.images.shape[1:3]
        small = recipe.input.model_copy(update={"height": height, "width": width})
        scaled = [resize(image, small) for image in known.images]
        images = np.asarray(scaled, np.uint8).reshape(-1, height, width, 3)
        learn = joined(learn, replace(known, images=images))
    taken = len(known)
    if outliers is not None:
        outliers, taken = joined(outliers, none), taken + len(none)
    digest = hashlib.sha256()
    for split in (known, none):
        digest.update(split.images.tobytes() + split.labels.tobytes())
    told = f"{taken} photos of a folder of one's own (SHA-256 {digest.hexdigest()[:12]})"
    if left := len(known) + len(none) - taken:
        told += f"; {left} of none of the classes left out, which this recipe cannot learn from"
    return TrainingData(learn, photos, outliers, told)


def load_photo_training_data(
    learn: Split, photos: RealPhotos, extra: Path | None, labels: tuple[str, ...]
) -> PhotoTrainingData:
    """Read what a recipe with a plan for real photos learns from.

    Args:
        learn: Rows of the data set.
        photos: Real photos.
        extra: Folder of photos to learn from too; None: there is none.
        labels: Of the data set.

    Raises:
        DataError: The folder's labels are wrong, or a photo in it cannot be read.
    """
    if extra is None:
        return PhotoTrainingData(learn, photos)
    own = read_own_photos(extra, labels)
    digest = hashlib.sha256(own.labels.tobytes())
    for image in own.images:
        digest.update(image.tobytes())
    told = f"{len(own)} photos of a folder of one's own (SHA-256 {digest.hexdigest()[:12]})"
    return PhotoTrainingData(learn, photos.joined(own), told)


def describe_training_data(material: TrainingData, recipe: Recipe, dataset: Dataset) -> str:
    """Return what is learned from, for people."""
    parts = [f"{dataset.name}, {len(material.rows):,} rows of train"]
    if material.photos is not None:
        parts.append(f"Tiny ImageNet, {len(material.photos):,} train images of the same classes")
    if material.outliers is not None:
        parts.append(f"{len(material.outliers):,} of other classes ({recipe.outliers:,} an epoch)")
    if material.extra:
        parts.append(f"among them {material.extra}")
    return "; ".join(parts)


def name_datasets(
    material: TrainingData, dataset: Dataset, body: Pretrained | None
) -> tuple[str, ...]:
    """Return the names on the Hub of what is learned from.

    Args:
        material: What a run learns from.
        dataset: Whose rows it has.
        body: Weights of VGG16 that the network begins with, if any.
    """
    tiny = material.photos is not None or material.outliers is not None
    names = [dataset.hub, TINY_HUB_REPO if tiny else None, *(body.datasets if body else ())]
    return tuple(dict.fromkeys(name for name in names if name))
