"""Selection of the resize rule by accuracy on images that are not square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.folder import Bundle
from core.bundle.metrics import ResizeMetrics
from core.inference.classifier import Classifier
from core.photos.preprocess import ResizeRule
from core.settings import Settings
from core.training.data.datasets import Split
from core.training.evaluation.evaluation_data import TINY_KNOWN, EvaluationData

__all__ = ["best_resize_rule", "compare_resize_rules", "crop_to_photo_formats", "resize_metrics"]

_MIN_GAIN_OF_THREE_CROPS = 0.01


def compare_resize_rules(
    bundle: Bundle, data: EvaluationData, settings: Settings
) -> ResizeMetrics | None:
    """Measure the accuracy of each resize rule on the selection images.

    Real photos are taken as they are; Tiny ImageNet's square images are cropped to 4:3 and 3:4.

    Args:
        bundle: The model.
        data: Selection images.
        settings: `threads` is used.

    Returns:
        Accuracy by rule; None without selection images.
    """
    threads = settings.threads
    if data.real is not None and (images := data.selection) is not None:
        known = list(images.known)
        return resize_metrics(bundle, known, images.labels, images.known_name, threads=threads)
    if data.tiny is not None:
        split = data.tiny.known_selection
        cropped = crop_to_photo_formats(split)
        return resize_metrics(bundle, cropped, split.labels, TINY_KNOWN, threads=threads)
    return None


def crop_to_photo_formats(split: Split) -> list[NDArray[np.uint8]]:
    """Crop square images to the aspect ratios of cameras, 4:3 and 3:4 in turn.

    Args:
        split: n square images.

    Returns:
        n images, each of shape (h, w, 3), uint8.
    """
    height = split.images.shape[1]
    margin = height // 8
    return [
        image[margin : height - margin] if i % 2 == 0 else image[:, margin : height - margin]
        for i, image in enumerate(split.images)
    ]


def resize_metrics(
    bundle: Bundle,
    images: Sequence[NDArray[np.uint8]],
    truth: NDArray[np.int64],
    name: str,
    *,
    threads: int,
) -> ResizeMetrics:
    """Measure the accuracy of each resize rule on images of any aspect ratio.

    Args:
        bundle: The model.
        images: n images, each of shape (h, w, 3), uint8.
        truth: Class indices, shape (n,).
        name: Human-readable description of the images.
        threads: Number of threads for one inference.
    """
    labels = [bundle.config.labels[label] for label in truth]
    accuracy: dict[ResizeRule, float] = {}
    for rule in get_args(ResizeRule):
        spec = bundle.config.input.model_copy(update={"resize": rule})
        config = bundle.config.model_copy(update={"input": spec})
        classifier = Classifier(replace(bundle, config=config), threads=threads)
        predictions = classifier.predict_many(list(map(Image.fromarray, images)))
        correct = [each.label == label for each, label in zip(predictions, labels, strict=True)]
        accuracy[rule] = float(np.mean(correct))
    return ResizeMetrics(data=name, n=len(truth), accuracy=accuracy)


def best_resize_rule(metrics: ResizeMetrics) -> ResizeRule:
    """Return the rule with the highest accuracy.

    `three_crops` takes three times the computation of the others, so it is selected only where its
    accuracy is higher by at least 0.01.
    """
    adjusted = {
        rule: accuracy - (_MIN_GAIN_OF_THREE_CROPS if rule == "three_crops" else 0)
        for rule, accuracy in metrics.accuracy.items()
    }
    return max(adjusted, key=adjusted.__getitem__)
