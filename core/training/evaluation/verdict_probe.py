"""The probe of the verdict: a linear layer on a trained network's embedding that knows "none"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.bundle.config import Training
from core.errors import DataError
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams
from core.settings import Settings
from core.training.data.real_photos import find_real_photos
from core.training.data.tiny_imagenet import TINY_HUB_REPO, TinyImageNet, load_tiny_imagenet
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.model_outputs import run_inference
from core.training.evaluation.ood import downscale, subsample
from core.training.linear_probe import fit_linear_probe
from core.training.photo_plan import PhotoPlan

__all__ = ["TinyProbe"]

_Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]

_ROWS = 12_000
_OUTLIERS = 6_000
# Inverse strength of the L2 regularisation.
_C = 0.003
_RECORDED = "; the verdict also on "


@dataclass(frozen=True, eq=False)
class TinyProbe:
    """A probe that learns Tiny ImageNet, too, which the network does not.

    Real photos of the labels and of other things come from different sources, and are sharper than
    the rows of the data set. Tiny ImageNet has both kinds in one source, at 64 pixels.

    Attributes:
        images: Training images of Tiny ImageNet, of which at most 6,000 outliers are used.
        weight: Weight of each in the loss, relative to 1 for a row or photo.
    """

    images: TinyImageNet
    weight: float

    @classmethod
    def from_plan(cls, plan: PhotoPlan | None, settings: Settings) -> Self | None:
        """Return the probe of a plan; None where the network's own outputs are the probe.

        Raises:
            DataError: Tiny ImageNet or the real photos are missing.
        """
        if plan is None or not plan.tiny_imagenet_weight:
            return None
        find_real_photos(settings)
        return cls(load_tiny_imagenet(settings), plan.tiny_imagenet_weight)

    def fit(self, classifier: Classifier, data: EvaluationData) -> OodParams:
        """Fit the parameters of the verdict method `probe`.

        It learns rows, the training part of the real photos at their own size and downscaled to
        that of the rows, and Tiny ImageNet.

        Args:
            classifier: The calibrated model.
            data: The learning rows and the real photos are used.

        Returns:
            `kernel` of shape (d, k + 1) and `bias` of shape (k + 1,), float16, for embeddings of
            length d and k labels; the last output is "none".

        Raises:
            DataError: There are no real photos.
        """
        if data.real is None:
            raise DataError(
                "The probe of the verdict is fitted on real photos, and there are none."
            )
        photos, same, none = data.real.train, self.images.same_classes, len(classifier.labels)
        chosen = np.linspace(0, len(data.learn) - 1, min(_ROWS, len(data.learn)))
        rows = data.learn.take(chosen.astype(np.int64))
        outliers = subsample(self.images.outliers, _OUTLIERS)
        photo_labels = np.where(photos.known, photos.labels, none)
        groups: list[tuple[_Images, NDArray[np.int64], float]] = [
            (rows.images, rows.labels, 1.0),
            (photos.images, photo_labels, 1.0),
            (downscale(classifier, photos.images), photo_labels, 1.0),
            (same.images, same.labels, self.weight),
            (outliers, np.full(len(outliers), none), self.weight),
        ]
        probe = fit_linear_probe(
            np.concatenate(
                [run_inference(classifier, images, "").outputs.embedding for images, _, _ in groups]
            ),
            np.concatenate([labels for _, labels, _ in groups]),
            none + 1,
            _C,
            np.concatenate([np.full(len(labels), weight) for _, labels, weight in groups]),
        )
        return {"kernel": probe.kernel.astype(np.float16), "bias": probe.bias.astype(np.float16)}

    def record(self, training: Training) -> Training:
        """Return a training record that names Tiny ImageNet, in place of an earlier mention."""
        before, _, _ = training.data.partition(_RECORDED)
        count = len(self.images.same_classes) + min(len(self.images.outliers), _OUTLIERS)
        return training.model_copy(
            update={
                "data": f"{before}{_RECORDED}{count:,} images of Tiny ImageNet",
                "datasets": tuple(dict.fromkeys([*training.datasets, TINY_HUB_REPO])),
            }
        )
