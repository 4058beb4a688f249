"""Turn the outputs of a model into a prediction."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.bundle.folder import Bundle
from core.inference.calibration import calibrated
from core.inference.evidence import Evidence
from core.inference.prediction import Prediction, Timing

__all__ = ["make_prediction"]


def make_prediction(
    bundle: Bundle,
    photo: str | None,
    logits: NDArray[np.float32],
    known_score: float,
    evidence: Evidence | None,
    timing: Timing,
) -> Prediction:
    """Calibrate a model's outputs for one photo, and decide on the verdict.

    Args:
        bundle: The model folder.
        photo: Path of the photo; None for bytes and PIL images.
        logits: Logits of the k labels, shape (k,), float32.
        known_score: Out-of-distribution score, on the scale of the model's method.
        evidence: Class evidence maps; None for no saliency map.
        timing: Durations of decoding and inference.
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
        saliency=None if evidence is None else evidence.saliency(best, config.input),
    )
