"""Predictions from the outputs of a model."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle.config import VerdictConfig
from core.bundle.folder import Bundle
from core.inference.answer import make_prediction
from core.inference.calibration import calibrated
from core.inference.prediction import Timing
from tests.conftest import ROOT

LOGITS = np.linspace(0, 4, 10, dtype=np.float32)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(ROOT / "models" / "classic")


def with_thresholds(bundle: Bundle, none_below: float, unsure_below: float) -> Bundle:
    verdict = VerdictConfig(method="energy", none_below=none_below, unsure_below=unsure_below)
    config = bundle.config.model_copy(update={"verdict": verdict})
    return Bundle(bundle.folder, config, bundle.revision)


def test_scores_are_calibrated_and_in_descending_order(bundle: Bundle) -> None:
    timing = Timing(decode=1.0, infer=2.0)
    found = make_prediction(bundle, "ship.jpg", LOGITS, 9.0, None, timing)
    scores = calibrated(LOGITS, bundle.config)
    assert list(found.scores) == list(reversed(bundle.config.labels))
    assert list(found.scores.values()) == pytest.approx(sorted(scores, reverse=True))
    assert (found.label, found.confidence) == next(iter(found.scores.items()))
    assert (found.photo, found.model, found.revision) == ("ship.jpg", "classic", bundle.revision)
    assert (found.timing_ms, found.saliency) == (timing, None)


@pytest.mark.parametrize(
    ("known_score", "unsure_below", "verdict"),
    [(0.9, 1.0, "none"), (1.0, 1.0, "unsure"), (1.0, 0.0, "known")],
)
def test_verdict_looks_at_the_known_score_first(
    bundle: Bundle, known_score: float, unsure_below: float, verdict: str
) -> None:
    chosen = with_thresholds(bundle, none_below=1.0, unsure_below=unsure_below)
    timing = Timing(decode=0.0, infer=0.0)
    assert make_prediction(chosen, None, LOGITS, known_score, None, timing).verdict == verdict
