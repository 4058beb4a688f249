"""What is left of accuracy and calibration on images spoiled in common ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import CorruptionMetrics
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.training.data.datasets import Split
from core.training.evaluation.calibrate import ece, reliability
from core.training.evaluation.ood import run_inference

__all__ = ["SHIFT_ROWS", "corrupt", "corruptions", "measure_corruptions"]

SHIFT_ROWS = 2_000
STRENGTHS = (1, 2, 3, 4, 5)
# These draw from generators of their own, which take a seed; all others from NumPy's global one.
_SEEDED = {"glass_blur", "impulse_noise"}


def corruptions() -> list[str]:
    """Names of the 15 common ways (Hendrycks and Dietterich 2019)."""
    from imagecorruptions import get_corruption_names  # noqa: PLC0415  # takes seconds to import

    names: list[str] = get_corruption_names("common")
    return names


def corrupt(images: NDArray[np.uint8], way: str, strength: int) -> NDArray[np.uint8]:
    """Images spoiled in one way; the same images always come out the same.

    Args:
        images: Shape (n, h, w, 3), of at least 32 pixels each way.
        way: One of `corruptions`.
        strength: 1 to 5.
    """
    from imagecorruptions import corrupt  # noqa: PLC0415  # takes seconds to import

    before = np.random.get_state()  # noqa: NPY002  # the library knows no other generator
    made = np.empty_like(images)
    try:
        for i, image in enumerate(images):
            np.random.seed(i)  # noqa: NPY002
            more = {"seed": i} if way in _SEEDED else {}
            made[i] = corrupt(image, severity=strength, corruption_name=way, **more)
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return made


def measure_corruptions(
    classifiers: Sequence[Classifier], split: Split
) -> Iterator[tuple[str, Mapping[str, CorruptionMetrics]]]:
    """Figures on the first 2,000 rows, spoiled in each way at five strengths.

    Args:
        classifiers: All are shown the same images.
        split: Rows with the classifiers' labels.

    Yields:
        A way, and the figures of each classifier by its name.
    """
    rows = split.take(np.arange(min(SHIFT_ROWS, len(split))))
    for way in corruptions():
        accuracy: dict[str, list[float]] = {each.name: [] for each in classifiers}
        gaps: dict[str, list[float]] = {each.name: [] for each in classifiers}
        for strength in STRENGTHS:
            images = corrupt(rows.images, way, strength)
            for classifier in classifiers:
                logits = run_inference(classifier, images, way).outputs.logits
                right = logits.argmax(axis=1) == rows.labels
                sure = confidences(logits, classifier.config)
                accuracy[classifier.name].append(float(right.mean()))
                gaps[classifier.name].append(ece(reliability(sure, right)))
        yield (
            way,
            {
                name: CorruptionMetrics.model_validate(
                    {"accuracy": accuracy[name], "ece": gaps[name]}
                )
                for name in accuracy
            },
        )
