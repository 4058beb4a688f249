"""Tiny ImageNet, divided by the relation of its classes to those of CIFAR-10."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import DataError
from core.registry import hub
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Split, decode_cells

__all__ = [
    "TINY_HUB_REPO",
    "TinyHeldOut",
    "TinyImageNet",
    "ensure_tiny_train",
    "load_tiny_held_out",
    "load_tiny_imagenet",
]

TINY_HUB_REPO = "zh-plus/tiny-imagenet"
_CLASSES = 200
_SIDE = 64
# WordNet numbers of the classes that show one of CIFAR-10's; airplane, deer and horse have none.
_SAME_CLASSES = {
    "automobile": ("n02814533", "n03100240", "n03670208", "n04285008"),
    "bird": ("n01855672", "n02002724", "n02056570", "n02058221"),
    "cat": ("n02123045", "n02123394", "n02124075"),
    "dog": ("n02085620", "n02094433", "n02099601", "n02099712", "n02106662", "n02113799"),
    "frog": ("n01641577", "n01644900"),
    # A gondola and a lifeboat.
    "ship": ("n03447447", "n03662601"),
    "truck": ("n03796401",),
}
# Police van, school bus, trolleybus and gazelle are too similar to one of the ten to count as
# out-of-distribution, and too different to count as one of them.
_AMBIGUOUS = ("n03977966", "n04146614", "n04487081", "n02423022")
# Boa, African elephant, lesser panda, bullet train and freight car show kinds of objects that no
# model is trained with or selected by, see `core.training.data.real_photos.KEPT_BACK_KINDS`.
_KEPT_BACK = ("n01742172", "n02504458", "n02509815", "n02917067", "n03393912")
_OUTLIER_SEED = 0
_TRAIN_OUTLIER_CLASSES = 120
_SELECTION_OUTLIER_CLASSES = 30
# Train images per class for selection and evaluation, beside all valid images of the class.
_HELD_OUT_TRAIN_IMAGES = 50


@dataclass(frozen=True)
class TinyImageNet:
    """Training images of Tiny ImageNet, 64 × 64 pixels.

    Attributes:
        same_classes: Images of classes that show one of CIFAR-10's, with CIFAR-10's labels;
            airplane, deer and horse have none.
        outliers: Images of 115 classes that show none of the ten and none of the kinds that are
            held out, with Tiny ImageNet's labels.
    """

    same_classes: Split
    outliers: Split


@dataclass(frozen=True)
class TinyHeldOut:
    """Images of Tiny ImageNet, 64 × 64 pixels, that no model is trained on.

    Attributes:
        known_selection: Every other valid image of classes that show one of CIFAR-10's, with
            CIFAR-10's labels, for the selection of resize rule, method and thresholds.
        known_evaluation: The other half, for evaluation only.
        outlier_selection: Train and valid images of 30 classes that show none of the ten and none
            of the kinds that are held out, with Tiny ImageNet's labels, for the selection of
            methods and thresholds.
        outlier_evaluation: Images of the remaining 24 such classes, for evaluation only.
    """

    known_selection: Split
    known_evaluation: Split
    outlier_selection: Split
    outlier_evaluation: Split


def load_tiny_imagenet(settings: Settings) -> TinyImageNet:
    """Read the training images of Tiny ImageNet.

    They are read from `tiny-imagenet/data/*.parquet` (the layout of `zh-plus/tiny-imagenet` on the
    Hub) in the folder of TENSIGHT_DATA. With TENSIGHT_DATA unset they are downloaded, once. A
    subset of the train shards is accepted.

    Raises:
        DataError: The files are missing, cannot be downloaded, or do not hold Tiny ImageNet.
    """
    classes = _Classes.read(settings)
    train = classes.read_images("train", [*classes.same, *classes.train])
    return TinyImageNet(
        _relabel(_select_classes(train, list(classes.same)), classes.same),
        _select_classes(train, classes.train),
    )


def load_tiny_held_out(settings: Settings) -> TinyHeldOut:
    """Read the images of Tiny ImageNet for model selection and evaluation.

    Raises:
        DataError: As in `load_tiny_imagenet`.
    """
    classes = _Classes.read(settings)
    others = classes.selection + classes.evaluation
    train = classes.read_images("train", others, _HELD_OUT_TRAIN_IMAGES)
    valid = classes.read_images("valid", [*classes.same, *others])
    known = _relabel(_select_classes(valid, list(classes.same)), classes.same)

    def outliers(labels: list[int]) -> Split:
        return _select_classes(train, labels).concat(_select_classes(valid, labels))

    return TinyHeldOut(
        known.take(np.arange(0, len(known), 2)),
        known.take(np.arange(1, len(known), 2)),
        outliers(classes.selection),
        outliers(classes.evaluation),
    )


def ensure_tiny_train(settings: Settings) -> None:
    """Check that `load_tiny_imagenet` finds its files, downloading them if needed.

    Of the train files only the names are read.

    Raises:
        DataError: Files are missing or cannot be downloaded, or the valid file, which names the
            classes, is damaged.
    """
    _find_shards(_folder(settings, "train"), "train")
    _Classes.read(settings)


@dataclass(frozen=True)
class _Classes:
    """Label indices of Tiny ImageNet by use; `same` maps them to CIFAR-10's label indices."""

    settings: Settings
    same: dict[int, int]
    train: list[int]
    selection: list[int]
    evaluation: list[int]

    @classmethod
    def read(cls, settings: Settings) -> _Classes:
        """Divide the classes that the valid file names; the division depends on a fixed seed."""
        names = _class_names(_find_shards(_folder(settings, "valid"), "valid")[0])
        same = _same_classes(names)
        others = [i for i, name in enumerate(names) if i not in same and name not in _AMBIGUOUS]
        others = [others[i] for i in np.random.default_rng(_OUTLIER_SEED).permutation(len(others))]
        held_out = _TRAIN_OUTLIER_CLASSES + _SELECTION_OUTLIER_CLASSES
        # Removed after the division, which stays the same for all other classes.
        kept_back = {i for i, name in enumerate(names) if name in _KEPT_BACK}
        return cls(
            settings,
            same,
            [i for i in others[:_TRAIN_OUTLIER_CLASSES] if i not in kept_back],
            [i for i in others[_TRAIN_OUTLIER_CLASSES:held_out] if i not in kept_back],
            others[held_out:],
        )

    def read_images(self, split: str, labels: list[int], limit: int | None = None) -> Split:
        """Read the first images, at most `limit` for each label, in the order of the files."""
        return _read_classes(_folder(self.settings, split), split, labels, limit)


def _folder(settings: Settings, split: str) -> Path:
    if settings.data is not None:
        return settings.data / "tiny-imagenet" / "data"
    return (
        hub.fetch_dataset(
            TINY_HUB_REPO,
            f"data/{split}-*.parquet",
            cache=settings.home / "hub",
            token=settings.hub_token,
        )
        / "data"
    )


def _find_shards(folder: Path, split: str) -> list[Path]:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(
            f"{folder} contains no {split}-*.parquet: Tiny ImageNet is incomplete there."
        )
    return files


def _class_names(file: Path) -> list[str]:
    """Return the WordNet number of each label."""
    try:
        description = json.loads(pq.read_schema(file).metadata[b"huggingface"])
        names: list[str] = description["info"]["features"]["label"]["names"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{file} is not a Tiny ImageNet parquet file: {error}") from error
    if len(names) != _CLASSES:
        raise DataError(f"{file} names {len(names)} classes; Tiny ImageNet has {_CLASSES}.")
    return names


def _same_classes(names: list[str]) -> dict[int, int]:
    """Map label indices of Tiny ImageNet to those of CIFAR-10 where they show the same."""
    try:
        return {
            names.index(number): CIFAR10_LABELS.index(label)
            for label, numbers in _SAME_CLASSES.items()
            for number in numbers
        }
    except ValueError as error:
        raise DataError(f"A class is missing among Tiny ImageNet's 200: {error}.") from error


def _read_classes(folder: Path, split: str, selected: list[int], limit: int | None) -> Split:
    """Read the images of some labels; only these are decoded."""
    images, labels, rows = [], [], []
    before = 0
    remaining = np.full(_CLASSES, limit if limit is not None else np.iinfo(np.int64).max)
    for file in _find_shards(folder, split):
        try:
            table = pq.read_table(file, columns=["image", "label"])
            file_labels = table["label"].to_numpy().astype(np.int64)
            chosen = np.asarray(
                [
                    i
                    for i in np.flatnonzero(np.isin(file_labels, selected))
                    if _take_one(remaining, file_labels[i])
                ],
                np.int64,
            )
            images += decode_cells(table["image"].take(pa.array(chosen)).to_pylist())
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{file} is not a Tiny ImageNet parquet file: {error}") from error
        labels.append(file_labels[chosen])
        rows.append(before + chosen)
        before += len(file_labels)
    shapes = {image.shape for image in images}
    if shapes != {(_SIDE, _SIDE, 3)}:
        raise DataError(
            f"{folder}: expected images of 64 × 64 pixels; {split} has the shapes {sorted(shapes)}."
        )
    return Split(np.stack(images), np.concatenate(labels), np.concatenate(rows))


def _take_one(remaining: NDArray[np.int64], label: int) -> bool:
    """Count down the images that may still be taken of a label; False when there are enough."""
    remaining[label] -= 1
    return bool(remaining[label] >= 0)


def _select_classes(split: Split, labels: list[int]) -> Split:
    return split.take(np.flatnonzero(np.isin(split.labels, labels)))


def _relabel(split: Split, labels: dict[int, int]) -> Split:
    return replace(split, labels=np.asarray([labels[label] for label in split.labels], np.int64))
