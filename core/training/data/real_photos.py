"""Real photos of CIFAR-10's classes and of other objects, from a folder of parquet files."""

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
from core.training.data.cifar10 import CIFAR10_LABELS

__all__ = [
    "ALIKE_KINDS",
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
"""Label of photos that show none of CIFAR-10's classes."""

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
"""Kinds of `none` that take no part in training, calibration and model selection.

They measure how a model treats kinds of objects that were not in its training data.
"""

ALIKE_KINDS = (
    "jaguar",
    "leopard",
    "cougar",
    "lion",
    "wolf",
    "fox",
    "cow",
    "wild_boar",
    "bison",
    "zebra",
)
"""Kinds of `none` that resemble each other, on which teaching is evaluated.

Models are trained with photos of them, but no embedding space is fitted to any.
"""

# Other names of the same kinds in the data: species and flowers.
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
    """Photos of any size with labels and provenance.

    Attributes:
        images: n RGB images, each of shape (h, w, 3), uint8.
        labels: Class indices of CIFAR-10, or `NONE_LABEL`, shape (n,), int64.
        kinds: Word for what each photo shows, shape (n,), str.
        sources: Repository that each photo comes from, shape (n,), str.
        paths: Path of each photo in its repository, shape (n,), str.
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
        """Return a mask, shape (n,): the photos that show one of CIFAR-10's classes."""
        return np.asarray(self.labels != NONE_LABEL)

    @property
    def kept_back(self) -> NDArray[np.bool_]:
        """Return a mask, shape (n,): the photos of `KEPT_BACK_KINDS`, under any of their names."""
        kinds = (*KEPT_BACK_KINDS, *_SAME_AS_KEPT_BACK)
        return np.asarray(~self.known & np.isin(self.kinds, kinds))

    def select(self, mask: NDArray[np.bool_]) -> RealPhotos:
        """Return the photos where a mask of shape (n,) is true."""
        return RealPhotos(
            tuple(
                image for image, is_selected in zip(self.images, mask, strict=True) if is_selected
            ),
            self.labels[mask],
            self.kinds[mask],
            self.sources[mask],
            self.paths[mask],
        )

    def concat(self, other: RealPhotos) -> RealPhotos:
        """Append other photos."""
        return RealPhotos(
            self.images + other.images,
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.kinds, other.kinds]),
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.paths, other.paths]),
        )


@dataclass(frozen=True, eq=False)
class RealPhotosParts:
    """Disjoint sets of photos by use.

    Attributes:
        train: Photos for training.
        valid: Photos for model selection and calibration.
        kept_back: Photos of `KEPT_BACK_KINDS` from both parts, for evaluation only.
        unseen: Photos of the held-out sources from both parts, for evaluation only.
    """

    train: RealPhotos
    valid: RealPhotos
    kept_back: RealPhotos
    unseen: RealPhotos


def find_real_photos(settings: Settings) -> Path:
    """Return the folder of real photos.

    Raises:
        DataError: TENSIGHT_DATA is unset, or has no such folder; the message describes the layout.
    """
    if settings.data is None:
        raise DataError(
            f"Real photos are missing: set TENSIGHT_DATA to a folder whose {_FOLDER}/ holds "
            f"{_LAYOUT}."
        )
    folder = settings.data / _FOLDER
    for part in ("train", "valid"):
        if not any(folder.glob(f"{part}-*.parquet")):
            raise DataError(f"{folder} holds no {part}-*.parquet: it must hold {_LAYOUT}.")
    return folder


def has_real_photos(settings: Settings) -> bool:
    """Check whether the data folder has real photos."""
    try:
        find_real_photos(settings)
    except DataError:
        return False
    return True


def load_real_photos(settings: Settings, held_out: Collection[str] = ()) -> RealPhotosParts:
    """Read `real_photos/` in the folder of TENSIGHT_DATA and divide the photos by use.

    Args:
        settings: `data` is used.
        held_out: Sources that are held out of training and model selection.

    Raises:
        DataError: The folder is missing or invalid, or has no photo of a source in `held_out`.
    """
    folder = find_real_photos(settings)
    train, valid = (read_real_photos(folder, part) for part in ("train", "valid"))
    all_photos = train.concat(valid)
    if missing := set(held_out) - set(all_photos.sources.tolist()):
        raise DataError(f"{folder} has no photos of the source {sorted(missing)[0]}.")
    in_seen_sources = [
        ~np.isin(part.sources, sorted(held_out)) for part in (train, valid, all_photos)
    ]
    return RealPhotosParts(
        train=train.select(in_seen_sources[0] & ~train.kept_back),
        valid=valid.select(in_seen_sources[1] & ~valid.kept_back),
        kept_back=all_photos.select(all_photos.kept_back),
        unseen=all_photos.select(~in_seen_sources[2] & ~all_photos.kept_back),
    )


def read_real_photos(folder: Path, part: str) -> RealPhotos:
    """Read and decode one part of a folder.

    Args:
        folder: Folder of the parquet files.
        part: `train` or `valid`.

    Raises:
        DataError: A file is missing, has other columns or labels, or contains a photo that cannot
            be decoded.
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
        tuple(_decode_cell(cell, folder) for cell in cells),
        labels,
        np.asarray([str(kind) for kind in columns["kind"]], np.str_),
        np.asarray([str(source) for source in columns["source"]], np.str_),
        np.asarray([str(cell["path"]) for cell in cells], np.str_),
    )


def _decode_cell(cell: dict[str, object], folder: Path) -> NDArray[np.uint8]:
    content = cell["bytes"]
    if not isinstance(content, bytes):
        raise DataError(f"{folder}: {cell['path']} has no bytes.")
    try:
        return decode(content)
    except ImageError as error:
        raise DataError(f"{folder}: {cell['path']} cannot be decoded: {error}") from error
