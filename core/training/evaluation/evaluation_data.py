"""The data that a model is selected and evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.settings import Settings
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Dataset, Split, hold_out
from core.training.data.real_photos import RealPhotosParts, has_real_photos, load_real_photos
from core.training.data.tiny_imagenet import TinyHeldOut, load_tiny_held_out

__all__ = ["REAL_PHOTOS", "TINY_KNOWN", "EvaluationData", "SelectionImages"]

TINY_KNOWN = "Tiny ImageNet valid, classes of CIFAR-10, first half"
"""Human-readable description of `TinyHeldOut.known_selection`."""
_TINY_OUTLIERS = "Tiny ImageNet, 30 other classes"
REAL_PHOTOS = "real photos, valid"
"""Human-readable description of the validation part of the real photos."""


@dataclass(frozen=True, eq=False)
class SelectionImages:
    """Images, sharper than the rows of a data set, for the selection of resize rule and verdict.

    Attributes:
        known: Images of the labels, each of shape (h, w, 3), uint8.
        labels: Class indices of these, shape (n,), int64.
        known_name: Human-readable description of these.
        outliers: Images of none of the labels, each of shape (h, w, 3), uint8.
        outliers_name: Human-readable description of these.
    """

    known: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    labels: NDArray[np.int64]
    known_name: str
    outliers: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
    outliers_name: str


@dataclass(frozen=True)
class EvaluationData:
    """Data that a model is selected and evaluated on.

    Attributes:
        dataset: Data set with the labels of the model.
        learn, validation: Its train split, divided by `hold_out`.
        tiny: Tiny ImageNet's held-out images; None for other labels than CIFAR-10's.
        names: Human-readable descriptions of the test and the validation rows; None to derive them
            from the name of the data set.
        real: Real photos; where there are any they replace Tiny ImageNet in model selection.
    """

    dataset: Dataset
    learn: Split
    validation: Split
    tiny: TinyHeldOut | None
    names: tuple[str, str] | None = None
    real: RealPhotosParts | None = None

    @classmethod
    def load(cls, dataset: Dataset, settings: Settings) -> EvaluationData:
        """Divide a data set, and for CIFAR-10's labels read Tiny ImageNet and any real photos.

        Raises:
            DataError: Tiny ImageNet is missing or damaged, or the real photos are damaged.
        """
        is_cifar10 = dataset.labels == CIFAR10_LABELS
        tiny = load_tiny_held_out(settings) if is_cifar10 else None
        real = load_real_photos(settings) if is_cifar10 and has_real_photos(settings) else None
        return cls(dataset, *hold_out(dataset.train), tiny, real=real)

    @classmethod
    def load_with_real_photos(
        cls, dataset: Dataset, settings: Settings, held_out: tuple[str, ...] = ()
    ) -> EvaluationData:
        """Divide a data set and read the real photos, without Tiny ImageNet.

        Args:
            dataset: A data set with CIFAR-10's labels.
            settings: `data` is used.
            held_out: Sources of photos that are held out for evaluation.

        Raises:
            DataError: The real photos are missing, or the data set has other labels.
        """
        if dataset.labels != CIFAR10_LABELS:
            raise DataError(
                f"{dataset.name} has labels of its own; the real photos have those of CIFAR-10."
            )
        real = load_real_photos(settings, held_out)
        return cls(dataset, *hold_out(dataset.train), None, real=real)

    @property
    def selection(self) -> SelectionImages | None:
        """Return the images for selection: real photos, else Tiny ImageNet's, else None."""
        if self.real is not None:
            valid = self.real.valid
            known = valid.select(valid.known)
            return SelectionImages(
                known.images,
                known.labels,
                f"{REAL_PHOTOS}, known classes",
                valid.select(~valid.known).images,
                f"{REAL_PHOTOS}, other objects",
            )
        if self.tiny is not None:
            known_split, outliers = self.tiny.known_selection, self.tiny.outlier_selection
            return SelectionImages(
                known_split.images,
                known_split.labels,
                TINY_KNOWN,
                outliers.images,
                _TINY_OUTLIERS,
            )
        return None
