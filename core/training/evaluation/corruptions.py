"""Robustness: accuracy and calibration under common image corruptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import CorruptionMetrics
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.inference.reliability import ece, reliability
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import run_inference

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
    """Apply a corruption, deterministically by position of the image.

    Args:
        images: Images, shape (n, h, w, 3), of at least 32 × 32 pixels.
        corruption: One of `corruptions`.
        severity: 1 to 5.
    """
    from imagecorruptions import corrupt  # noqa: PLC0415  # takes seconds to import

    random_state = np.random.get_state()  # noqa: NPY002  # the library uses the global generator
    corrupted = np.empty_like(images)
    try:
        for i, image in enumerate(images):
            np.random.seed(i)  # noqa: NPY002
            seed = {"seed": i} if corruption in _SEEDED else {}
            corrupted[i] = corrupt(image, severity=severity, corruption_name=corruption, **seed)
    finally:
        np.random.set_state(random_state)  # noqa: NPY002
    return corrupted


def measure_corruptions(
    classifiers: Sequence[Classifier], split: Split
) -> Iterator[tuple[str, Mapping[str, CorruptionMetrics]]]:
    """Measure models on the first 2,000 rows under every corruption at five severities.

    Args:
        classifiers: Models, which all see the same images.
        split: Rows with the models' labels.

    Yields:
        Name of a corruption, and the metrics of each model by its name.
    """
    rows = split.take(np.arange(min(CORRUPTED_ROWS, len(split))))
    for corruption in corruptions():
        accuracies: dict[str, list[float]] = {each.name: [] for each in classifiers}
        errors: dict[str, list[float]] = {each.name: [] for each in classifiers}
        for severity in _SEVERITIES:
            images = corrupt(rows.images, corruption, severity)
            for classifier in classifiers:
                logits = run_inference(classifier, images, corruption).outputs.logits
                correct = logits.argmax(axis=1) == rows.labels
                confidence = confidences(logits, classifier.config)
                accuracies[classifier.name].append(float(correct.mean()))
                errors[classifier.name].append(ece(reliability(confidence, correct)))
        yield (
            corruption,
            {
                name: CorruptionMetrics.model_validate(
                    {"accuracy": accuracies[name], "ece": errors[name]}
                )
                for name in accuracies
            },
        )
