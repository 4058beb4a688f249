"""Real photos of CIFAR-10's classes and of other things, from a folder of parquet files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import DataError, ImageError
from core.photos.decode import decode
from core.settings import Settings
from core.training.data.datasets import CIFAR10_LABELS

__all__ = [
    "KEPT_BACK_KINDS",
    "NONE_LABEL",
    "RealPhotos",
    "RealPhotosParts",
    "find_real_photos",
    "has_real_photos",
    "load_real_photos",
    "read_real_photos",
]

NONE_LABEL = len(CIFAR10_LABELS)
"""Label of a photo that shows none of CIFAR-10's classes."""

KEPT_BACK_KINDS = (
    "kangaroo",
    "panda",
    "raccoon",
    "bicycle",
    "helicopter",
    "train",
    "flower",
    "elephant",
    "snake",
    "leopard",
)
"""Kinds of `none` that nothing is trained with, calibrated by or chosen by.

They measure how a model treats things that it never saw.
"""

# Other words for these in the data: names of species, and of flowers.
_SAME_AS_KEPT_BACK = (
    *("macropus-giganteus", "ailuropoda-melanoleuca", "ailurus-fulgens", "procyon-lotor"),
    *("agkistrodon-contortrix", "crotalus-atrox", "eunectes-murinus", "lampropeltis-triangulum"),
    *("malayopython-reticulatus", "ophiophagus-hannah", "pantherophis-alleghaniensis"),
    *("pantherophis-guttatus", "lotus", "sunflower", "water_lilly"),
)
_FOLDER = "real_photos"
_COLUMNS = ["image", "label", "kind", "source"]
_LAYOUT = (
    "train-*.parquet and valid-*.parquet with the columns image {bytes, path}, label (0 to 9 as in "
    f"CIFAR-10, {NONE_LABEL} for none of them), kind and source"
)


@dataclass(frozen=True, eq=False)
class RealPhotos:
    """Photos of any size, with what they show and where they come from.

    Attributes:
        images: n arrays of shape (h, w, 3), uint8, RGB.
        labels: Class indices of CIFAR-10, or `NONE_LABEL`; shape (n,), int64.
        kinds: One word for what each photo shows, shape (n,), str.
        sources: The repository that each photo comes from, shape (n,), str.
        paths: Its name there, shape (n,), str.
    """

    images: tuple[NDArray[np.uint8], ...]
    labels: NDArray[np.int64]
    kinds: NDArray[np.str_]
    sources: NDArray[np.str_]
    paths: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether each photo shows one of CIFAR-10's classes, shape (n,)."""
        return np.asarray(self.labels != NONE_LABEL)

    @property
    def kept_back(self) -> NDArray[np.bool_]:
        """Whether each photo shows one of `KEPT_BACK_KINDS`, by whatever word, shape (n,)."""
        kinds = (*KEPT_BACK_KINDS, *_SAME_AS_KEPT_BACK)
        return np.asarray(~self.known & np.isin(self.kinds, kinds))

    def where(self, chosen: NDArray[np.bool_]) -> RealPhotos:
        """Return the photos that a mask of shape (n,) selects."""
        images = tuple(image for image, taken in zip(self.images, chosen, strict=True) if taken)
        return RealPhotos(
            images,
            self.labels[chosen],
            self.kinds[chosen],
            self.sources[chosen],
            self.paths[chosen],
        )

    def joined(self, other: RealPhotos) -> RealPhotos:
        """Return the photos of both."""
        return RealPhotos(
            self.images + other.images,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.kinds, other.kinds]),
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.paths, other.paths]),
        )


@dataclass(frozen=True, eq=False)
class RealPhotosParts:
    """The photos by what they may be used for; no photo is in two of them.

    Attributes:
        train: To learn from.
        valid: To choose and calibrate by.
        kept_back: Photos of `KEPT_BACK_KINDS`, of both parts; for figures alone.
        unseen: All photos of the sources that were left out; for figures alone.
    """

    train: RealPhotos
    valid: RealPhotos
    kept_back: RealPhotos
    unseen: RealPhotos


def find_real_photos(settings: Settings) -> Path:
    """Return the folder of real photos.

    Raises:
        DataError: TENSIGHT_DATA is unset, or holds no such folder; the message says what it needs.
    """
    if settings.data is None:
        raise DataError(
            f"Real photos are needed: set TENSIGHT_DATA to a folder whose {_FOLDER}/ holds "
            f"{_LAYOUT}."
        )
    folder = settings.data / _FOLDER
    for part in ("train", "valid"):
        if not any(folder.glob(f"{part}-*.parquet")):
            raise DataError(f"{folder} holds no {part}-*.parquet: it must hold {_LAYOUT}.")
    return folder


def has_real_photos(settings: Settings) -> bool:
    """Return whether the data folder has real photos."""
    try:
        find_real_photos(settings)
    except DataError:
        return False
    return True


def load_real_photos(settings: Settings, left_out: Collection[str] = ()) -> RealPhotosParts:
    """Read the folder `real_photos/` of TENSIGHT_DATA.

    Args:
        settings: `data` is used.
        left_out: Sources whose photos are for figures alone.

    Raises:
        DataError: The folder is missing, is no such folder, or has no photo of a source in
            `left_out`.
    """
    folder = find_real_photos(settings)
    train, valid = (read_real_photos(folder, part) for part in ("train", "valid"))
    every = train.joined(valid)
    if missing := set(left_out) - set(every.sources.tolist()):
        raise DataError(f"{folder} has no photos of the source {sorted(missing)[0]}.")
    seen = [~np.isin(part.sources, sorted(left_out)) for part in (train, valid, every)]
    return RealPhotosParts(
        train=train.where(seen[0] & ~train.kept_back),
        valid=valid.where(seen[1] & ~valid.kept_back),
        kept_back=every.where(every.kept_back),
        unseen=every.where(~seen[2] & ~every.kept_back),
    )


def read_real_photos(folder: Path, part: str) -> RealPhotos:
    """Read and decode one part of a folder.

    Args:
        folder: Where the parquet files are.
        part: `train` or `valid`.

    Raises:
        DataError: A file is missing, has other columns or labels, or holds a photo that cannot be
            decoded.
    """
    cells: list[dict[str, object]] = []
    columns: dict[str, list[object]] = {name: [] for name in _COLUMNS[1:]}
    for file in sorted(folder.glob(f"{part}-*.parquet")):
        try:
            table = pq.read_table(file, columns=_COLUMNS)
            cells += table["image"].to_pylist()
            for name, values in columns.items():
                values.extend(table[name].to_pylist())
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{file} cannot be read: {error}. {folder} must hold {_LAYOUT}.") from (
                error
            )
    if not cells:
        raise DataError(f"{folder} holds no {part}-*.parquet: it must hold {_LAYOUT}.")
    labels = np.asarray(columns["label"], np.int64)
    if labels.min() < 0 or labels.max() > NONE_LABEL:
        raise DataError(
            f"{folder} has labels from {labels.min()} to {labels.max()}; expected 0 to "
            f"{NONE_LABEL}."
        )
    return RealPhotos(
        tuple(_decoded(cell, folder) for cell in cells),
        labels,
        np.asarray([str(kind) for kind in columns["kind"]], np.str_),
        np.asarray([str(source) for source in columns["source"]], np.str_),
        np.asarray([str(cell["path"]) for cell in cells], np.str_),
    )


def _decoded(cell: dict[str, object], folder: Path) -> NDArray[np.uint8]:
    content = cell["bytes"]
    if not isinstance(content, bytes):
        raise DataError(f"{folder}: {cell['path']} has no bytes.")
    try:
        return decode(content)
    except ImageError as error:
        raise DataError(f"{folder}: {cell['path']} cannot be decoded: {error}") from error
