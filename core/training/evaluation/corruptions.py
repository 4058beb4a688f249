"""Robustness: accuracy and calibration under common image corruptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import CorruptionMetrics
from core.inference.classifier import Classifier
from core.training.data.datasets import Split
from core.training.evaluation.evaluate import confidence_metrics

__all__ = ["CORRUPTED_ROWS", "corrupt", "corruptions", "measure_corruptions"]

CORRUPTED_ROWS = 2_000
"""Number of test rows that corruptions are measured on."""
_SEVERITIES = (1, 2, 3, 4, 5)
# These take a seed; the other corruptions draw from NumPy's global generator.
_SEEDED = {"glass_blur", "impulse_noise"}


def corruptions() -> list[str]:
    """Return the names of the 15 common corruptions (Hendrycks and Dietterich 2019)."""
    from imagecorruptions import get_corruption_names  # noqa: PLC0415  # takes seconds to import

    names: list[str] = get_corruption_names("common")
    return names


def corrupt(images: NDArray[np.uint8], corruption: str, severity: int) -> NDArray[np.uint8]:
    """Apply a corruption with a seed that is the position of the image, so that it is repeatable.

    Args:
        images: Images, shape (n, h, w, 3), of at least 32 × 32 pixels.
        corruption: One of `corruptions`.
        severity: 1 to 5.

    Returns:
        Images of the same shape and type.
    """
    from imagecorruptions import corrupt as apply  # noqa: PLC0415  # takes seconds to import

    random_state = np.random.get_state()  # noqa: NPY002  # the library uses the global generator
    corrupted = np.empty_like(images)
    try:
        for i, image in enumerate(images):
            np.random.seed(i)  # noqa: NPY002
            seed = {"seed": i} if corruption in _SEEDED else {}
            corrupted[i] = apply(image, severity=severity, corruption_name=corruption, **seed)
    finally:
        np.random.set_state(random_state)  # noqa: NPY002
    return corrupted


def measure_corruptions(
    classifiers: Sequence[Classifier], split: Split
) -> Iterator[tuple[str, Mapping[str, CorruptionMetrics]]]:
    """Measure models on the first 2,000 rows under every corruption at every severity.

    Args:
        classifiers: Models, which all see the same images.
        split: Rows with the models' labels.

    Yields:
        Name of a corruption, and the metrics of each model by its name.
    """
    rows = split.take(np.arange(min(CORRUPTED_ROWS, len(split))))
    for corruption in corruptions():
        accuracies: dict[str, list[float]] = {each.name: [] for each in classifiers}
        eces: dict[str, list[float]] = {each.name: [] for each in classifiers}
        for severity in _SEVERITIES:
            corrupted = replace(rows, images=corrupt(rows.images, corruption, severity))
            for classifier in classifiers:
                metrics = confidence_metrics(classifier, corrupted, corruption)
                accuracies[classifier.name].append(metrics.accuracy)
                eces[classifier.name].append(metrics.ece)
        yield (
            corruption,
            {
                name: CorruptionMetrics.model_validate(
                    {"accuracy": accuracies[name], "ece": eces[name]}
                )
                for name in accuracies
            },
        )
