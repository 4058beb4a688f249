"""Labelled image arrays, and the division of a train split into training and validation rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.model_selection import train_test_split

__all__ = ["Dataset", "Split", "decode_cells", "hold_out"]

_VALIDATION_FRACTION = 0.1
_VALIDATION_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images of one size with their labels.

    Attributes:
        images: RGB images, shape (n, h, w, 3), uint8.
        labels: Class indices, shape (n,), int64.
        rows: Row numbers in the official order of the files, shape (n,), int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64]) -> Split:
        """Return the rows at these positions."""
        return Split(self.images[index], self.labels[index], self.rows[index])

    def concat(self, other: Split) -> Split:
        """Append the rows of another split with images of the same size."""
        return Split(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.rows, other.rows]),
        )


@dataclass(frozen=True)
class Dataset:
    """A data set with its official train and test splits.

    Attributes:
        name: Display name, as in the model cards.
        labels: Name of each class index.
        hub: Name of the data set on the Hub; None where it is not there.
        train, test: The official splits; `hold_out` takes validation rows from train.
    """

    name: str
    labels: tuple[str, ...]
    hub: str | None
    train: Split
    test: Split


def hold_out(train: Split) -> tuple[Split, Split]:
    """Divide a train split into training and validation rows, stratified, with a fixed seed.

    Args:
        train: The official train split; of the 50,000 rows of CIFAR-10, 5,000 are held out.

    Returns:
        Training rows (90%) and validation rows (10%), both in the official order.
    """
    train_rows, validation = train_test_split(
        np.arange(len(train)),
        test_size=_VALIDATION_FRACTION,
        stratify=train.labels,
        random_state=_VALIDATION_SEED,
    )
    return train.take(np.sort(train_rows)), train.take(np.sort(validation))


def decode_cells(cells: Iterable[dict[str, Any]]) -> list[NDArray[np.uint8]]:
    """Decode image cells {bytes, path} of the Hub's parquet files into RGB arrays, uint8.

    Raises:
        OSError: A cell holds no image that Pillow can read.
    """
    return [np.asarray(Image.open(BytesIO(cell["bytes"])).convert("RGB")) for cell in cells]
