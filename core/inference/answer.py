"""From the outputs of a model to a prediction."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.folder import Bundle
from core.inference.calibration import calibrated
from core.inference.prediction import Prediction, Timing
from core.photos.preprocess import InputSpec

__all__ = ["make_prediction", "saliency_of"]

_MIN_CELLS = 5


def make_prediction(
    bundle: Bundle,
    photo: str | None,
    logits: NDArray[np.float32],
    known_score: float,
    maps: NDArray[np.float32] | None,
    timing: Timing,
) -> Prediction:
    """Calibrate a model's outputs for one photo, and decide on the verdict.

    Args:
        bundle: The model folder.
        photo: Path of the photo; None for bytes and PIL images.
        logits: Shape (k,), float32.
        known_score: On the scale of the model's method.
        maps: Class evidence maps, shape (h, w, k), float32; None for no saliency map.
        timing: Durations.
    """
    config = bundle.config
    scores = calibrated(logits, config)
    order = np.argsort(-scores, kind="stable")
    best = int(order[0])
    confidence = float(scores[best])
    verdict: Literal["known", "unsure", "none"] = "known"
    if known_score < config.verdict.none_below:
        verdict = "none"
    elif confidence < config.verdict.unsure_below:
        verdict = "unsure"
    return Prediction(
        photo=photo,
        model=config.name,
        revision=bundle.revision,
        label=config.labels[best],
        confidence=confidence,
        verdict=verdict,
        known_score=known_score,
        scores={config.labels[j]: float(scores[j]) for j in order},
        timing_ms=timing,
        saliency=None if maps is None else saliency_of(maps, best, config.input),
    )


def saliency_of(
    maps: NDArray[np.float32], label: int, spec: InputSpec
) -> NDArray[np.float32] | None:
    """Compute a saliency map from class evidence maps.

    Positive evidence for the label is weighted by the squared distance of a cell's evidence
    from the median along the border of the image. Without the weights, the weak evidence of a
    large uniform background would outweigh a small object.

    Args:
        maps: Evidence maps of one image, shape (h, w, k), float32.
        label: Index of the label.
        spec: The model's input.

    Returns:
        Array of the model's input size, float32, 0 to 1; None for maps of less than 5 × 5
        cells, which are too coarse.
    """
    if min(maps.shape[:2]) < _MIN_CELLS:
        return None
    support = np.maximum(maps[:, :, label], 0)
    edges = np.concatenate([maps[0], maps[-1], maps[1:-1, 0], maps[1:-1, -1]])
    unlike = ((maps - np.median(edges, axis=0)) ** 2).sum(axis=2)
    if (support * unlike).any():
        support = support * unlike
    support = support / max(float(support.max()), 1e-12)
    size = (spec.width, spec.height)
    scaled = Image.fromarray(support).resize(size, Image.Resampling.BILINEAR)
    return np.clip(np.asarray(scaled, np.float32), 0, 1)
