"""Folders of photos with a labels.csv: photos to evaluate on, and photos to train on."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import DataError, ImageError, PhotoReadError
from core.photos.decode import decode
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Split
from core.training.data.real_photos import RealPhotos

__all__ = [
    "LABELS",
    "NONE",
    "find_photos_folder",
    "load_own_photos",
    "load_own_splits",
    "read_labels",
    "translate_photo_errors",
]

LABELS = "labels.csv"
NONE = "none"
"""Label of photos that show none of the classes."""
_SIDE = 64


def find_photos_folder(settings: Settings, labels: tuple[str, ...]) -> Path | None:
    """Return `photos/` in the data folder, which shows CIFAR-10's classes.

    Args:
        settings: `data` is used.
        labels: Labels of the model to evaluate.

    Returns:
        The folder; None where there is none, or where the model has other labels.
    """
    if settings.data is None or labels != CIFAR10_LABELS:
        return None
    folder = settings.data / "photos"
    return folder if (folder / LABELS).is_file() else None


def read_labels(folder: Path, labels: tuple[str, ...]) -> dict[str, str]:
    """Read labels.csv of a folder: the label of each photo by file name.

    Args:
        folder: Folder with labels.csv, which has the columns `file` and `label`.
        labels: Allowed labels, beside `none` for a photo of none of them.

    Raises:
        DataError: labels.csv is missing, or a line of it is invalid.
    """
    path = folder / LABELS
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}. It must be a CSV file with the columns file,label."
        ) from error
    truth: dict[str, str] = {}
    for number, row in rows:
        file, label = row.get("file"), row.get("label")
        if not file or not label:
            raise DataError(f"{path}, line {number}: expected file,label; got {dict(row)}.")
        if label not in (*labels, NONE):
            raise DataError(
                f"{path}, line {number}: the model has no label {label!r}; its labels are "
                f"{', '.join(labels)}, and {NONE} is for photos of none of them."
            )
        if file in truth:
            raise DataError(f"{path}, line {number}: {file} was listed before.")
        truth[file] = label
    if not truth:
        raise DataError(f"{path} lists no photo.")
    return truth


@contextmanager
def translate_photo_errors(file: Path) -> Iterator[None]:
    """Translate errors of reading a photo to one that names its file.

    Raises:
        DataError: The photo cannot be read or decoded.
    """
    try:
        yield
    except (ImageError, PhotoReadError) as error:
        raise DataError(f"{file}: {error}") from error


def load_own_splits(folder: Path, labels: tuple[str, ...]) -> tuple[Split, Split]:
    """Read a user's own training photos, resized to the 64 × 64 pixels of Tiny ImageNet.

    Args:
        folder: Folder with a labels.csv, as `tensight feedback export` writes it.
        labels: Labels of the data set.

    Returns:
        Photos of the labels; and photos of none of them, whose labels are meaningless. Images have
        the shape (n, 64, 64, 3).

    Raises:
        DataError: labels.csv is invalid, or a photo cannot be read.
    """
    known: list[tuple[NDArray[np.uint8], int, int]] = []
    none: list[tuple[NDArray[np.uint8], int, int]] = []
    for row, (file, label) in enumerate(read_labels(folder, labels).items()):
        decoded = Image.fromarray(_decode(folder / file, min_side=2 * _SIDE))
        image = np.asarray(decoded.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        if label == NONE:
            none.append((image, 0, row))
        else:
            known.append((image, labels.index(label), row))
    return _to_split(known), _to_split(none)


def load_own_photos(folder: Path, labels: tuple[str, ...]) -> RealPhotos:
    """Read a user's own training photos at full resolution, to add to the real photos.

    Args:
        folder: Folder with a labels.csv, as `tensight feedback export` writes it.
        labels: Labels of the data set.

    Returns:
        Photos whose kind is their label and whose source is the name of the folder; the label of
        photos of none is the number of labels.

    Raises:
        DataError: labels.csv is invalid, or a photo cannot be read.
    """
    truth = read_labels(folder, labels)
    images = tuple(_decode(folder / file) for file in truth)
    indices = [len(labels) if label == NONE else labels.index(label) for label in truth.values()]
    return RealPhotos(
        images,
        np.asarray(indices, np.int64),
        np.asarray(list(truth.values()), np.str_),
        np.asarray([folder.name] * len(images), np.str_),
        np.asarray(list(truth), np.str_),
    )


def _decode(file: Path, min_side: int | None = None) -> NDArray[np.uint8]:
    with translate_photo_errors(file):
        return decode(file, min_side=min_side)


def _to_split(rows: list[tuple[NDArray[np.uint8], int, int]]) -> Split:
    return Split(
        np.asarray([image for image, _, _ in rows], np.uint8).reshape(-1, _SIDE, _SIDE, 3),
        np.asarray([label for _, label, _ in rows], np.int64),
        np.asarray([row for _, _, row in rows], np.int64),
    )
