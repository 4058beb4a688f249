"""Out-of-distribution comparisons: those that select the method, and those that are reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.bundle.config import VerdictMethod
from core.bundle.metrics import OodMetrics, OutlierMetrics
from core.errors import DataError
from core.inference.classifier import Classifier
from core.inference.known_score import OodParams
from core.training.data.tiny_imagenet import TinyHeldOut
from core.training.evaluation.evaluation_data import EvaluationData, SelectionImages
from core.training.evaluation.model_outputs import run_inference
from core.training.evaluation.ood import compare_methods, downscale, fit_ood_params
from core.training.evaluation.photos import decode_photos

__all__ = ["TINY_KNOWN_EVALUATION", "outlier_metrics", "selection_comparisons"]

TINY_KNOWN_EVALUATION = "Tiny ImageNet valid, classes of CIFAR-10, second half"
"""Human-readable description of `TinyHeldOut.known_evaluation`."""
_TINY_OUTLIERS = "Tiny ImageNet, 24 further classes"
_DOWNSCALED = "downscaled to 32 pixels"


def selection_comparisons(
    classifier: Classifier,
    data: EvaluationData,
    images: SelectionImages,
    ood_params: Mapping[VerdictMethod, OodParams],
) -> tuple[OodMetrics, OodMetrics]:
    """Compare the methods on the images that select one.

    Neither sharpness nor source alone may decide, so there are two comparisons: validation rows
    against outliers downscaled to their resolution, and sharp images against sharp outliers.

    Args:
        classifier: The model.
        data: Validation rows.
        images: Sharp images that the model was not trained on.
        ood_params: Parameters of each method.
    """
    config, outliers = classifier.config, images.outliers
    return (
        compare_methods(
            run_inference(
                classifier, data.validation.images, f"{data.dataset.name} train, validation rows"
            ),
            run_inference(
                classifier,
                downscale(classifier, outliers),
                f"{images.outliers_name}, {_DOWNSCALED}",
            ),
            config,
            ood_params,
        ),
        compare_methods(
            run_inference(classifier, images.known, images.known_name),
            run_inference(classifier, outliers, images.outliers_name),
            config,
            ood_params,
        ),
    )


def outlier_metrics(
    classifier: Classifier,
    data: EvaluationData,
    tiny: TinyHeldOut,
    photos: Path | None,
    before: OutlierMetrics | None,
) -> OutlierMetrics:
    """Measure how well each method detects images of none of the labels.

    Args:
        classifier: The model.
        data: Rows and selection images.
        tiny: Tiny ImageNet's held-out images.
        photos: Folder of photos with labels.csv; None without.
        before: Earlier metrics, whose comparison on photos is kept where there are none now.

    Raises:
        DataError: There are no selection images, or a photo cannot be read.
    """
    config, ood_params = classifier.config, fit_ood_params(classifier, data.learn)
    outliers = tiny.outlier_evaluation.images
    images = data.selection
    if images is None:
        raise DataError(
            "There are no images to select an out-of-distribution method on: neither real photos "
            "nor Tiny ImageNet."
        )
    on_photos = before.photos if before is not None else None
    if photos is not None:
        known, none = (
            run_inference(classifier, pixels, name) if pixels else None
            for pixels, name in zip(
                decode_photos(classifier, photos),
                ("photos of a known class", "photos of none"),
                strict=True,
            )
        )
        if known is not None and none is not None:
            on_photos = compare_methods(known, none, config, ood_params)
    return OutlierMetrics(
        chosen_by=selection_comparisons(classifier, data, images, ood_params),
        reported=(
            compare_methods(
                run_inference(classifier, data.dataset.test.images, f"{data.dataset.name} test"),
                run_inference(
                    classifier, downscale(classifier, outliers), f"{_TINY_OUTLIERS}, {_DOWNSCALED}"
                ),
                config,
                ood_params,
            ),
            compare_methods(
                run_inference(classifier, tiny.known_evaluation.images, TINY_KNOWN_EVALUATION),
                run_inference(classifier, outliers, _TINY_OUTLIERS),
                config,
                ood_params,
            ),
        ),
        photos=on_photos,
    )
