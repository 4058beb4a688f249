"""CIFAR-10, from the Hub's parquet files or from the official binary batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import DataError
from core.registry import hub
from core.settings import Settings
from core.training.data.datasets import Dataset, Split, decode_cells

__all__ = ["CIFAR10_HUB_REPO", "CIFAR10_LABELS", "load_cifar10", "load_cifar10_test"]

CIFAR10_LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_HUB_REPO = "uoft-cs/cifar10"
_ROWS = {"train": 50_000, "test": 10_000}
_SIDE = 32
_HUB_FOLDER = "plain_text"
_BINARY_FOLDER = "cifar-10-batches-bin"
_BINARY_FILES = {
    "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
    "test": ["test_batch.bin"],
}
# One byte for the label, then 1,024 for each of red, green and blue, row by row.
_RECORD_BYTES = 1 + 3 * _SIDE**2

_Reader = Callable[[Path, str], tuple[NDArray[np.uint8], NDArray[np.int64]]]


def load_cifar10(settings: Settings) -> Dataset:
    """Read CIFAR-10.

    The folder of TENSIGHT_DATA is searched for `cifar10/plain_text/*.parquet` (the layout of
    `uoft-cs/cifar10` on the Hub), then for `cifar-10-batches-bin/` (the official binary version,
    unpacked). With TENSIGHT_DATA unset the parquet files are downloaded from the Hub, once.

    Raises:
        DataError: The files are missing, cannot be downloaded, or do not hold CIFAR-10.
    """
    folder, read = _find_files(settings)
    return Dataset(
        "CIFAR-10",
        CIFAR10_LABELS,
        CIFAR10_HUB_REPO,
        _validate(read(folder, "train"), folder, "train"),
        _validate(read(folder, "test"), folder, "test"),
    )


def load_cifar10_test(settings: Settings) -> Split:
    """Read the test split of CIFAR-10 alone, from the same places as `load_cifar10`.

    Raises:
        DataError: As in `load_cifar10`.
    """
    folder, read = _find_files(settings)
    return _validate(read(folder, "test"), folder, "test")


def _find_files(settings: Settings) -> tuple[Path, _Reader]:
    """Return the folder of CIFAR-10's files and the function that reads them."""
    if settings.data is None:
        folder = hub.fetch_dataset(
            CIFAR10_HUB_REPO,
            f"{_HUB_FOLDER}/*.parquet",
            cache=settings.home / "hub",
            token=settings.hub_token,
        )
        return folder / _HUB_FOLDER, _read_parquet
    parquet = settings.data / "cifar10" / _HUB_FOLDER
    binary = settings.data / _BINARY_FOLDER
    if parquet.is_dir():
        return parquet, _read_parquet
    if binary.is_dir():
        return binary, _read_binary
    raise DataError(
        f"TENSIGHT_DATA is {settings.data}, which contains neither cifar10/{_HUB_FOLDER}/ nor "
        f"{_BINARY_FOLDER}/. Put CIFAR-10 there, or unset TENSIGHT_DATA to download it."
    )


def _read_parquet(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"{folder} contains no {split}-*.parquet: CIFAR-10 is incomplete there.")
    images, labels = [], []
    for file in files:
        try:
            table = pq.read_table(file, columns=["img", "label"])
            images += decode_cells(table["img"].to_pylist())
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{file} is not a CIFAR-10 parquet file: {error}") from error
        labels += table["label"].to_pylist()
    if len({image.shape for image in images}) > 1:
        raise DataError(
            f"{folder} contains images of several sizes; those of CIFAR-10 are 32 × 32."
        )
    return np.stack(images), np.asarray(labels, np.int64)


def _read_binary(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    records = []
    for name in _BINARY_FILES[split]:
        file = folder / name
        if not file.is_file():
            raise DataError(f"{folder} contains no {name}; unpack cifar-10-binary.tar.gz again.")
        values = np.fromfile(file, np.uint8)
        if values.size % _RECORD_BYTES:
            raise DataError(
                f"{file} has {values.size} bytes, which is not a multiple of {_RECORD_BYTES:,}; "
                "download it again."
            )
        records.append(values.reshape(-1, _RECORD_BYTES))
    table = np.concatenate(records)
    pixels = table[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), table[:, 0].astype(np.int64)


def _validate(
    content: tuple[NDArray[np.uint8], NDArray[np.int64]], folder: Path, split: str
) -> Split:
    """Check shapes and class counts against those of CIFAR-10."""
    images, labels = content
    expected = (_ROWS[split], _SIDE, _SIDE, 3)
    if images.shape != expected:
        raise DataError(f"{folder}: {split} has the shape {images.shape}, expected {expected}.")
    per_class = _ROWS[split] // len(CIFAR10_LABELS)
    counts = np.bincount(labels, minlength=len(CIFAR10_LABELS))
    if len(counts) != len(CIFAR10_LABELS) or set(counts) != {per_class}:
        raise DataError(
            f"{folder}: {split} has {counts.tolist()} images per class, expected {per_class} of "
            "each of the ten."
        )
    return Split(images, labels, np.arange(len(labels)))
