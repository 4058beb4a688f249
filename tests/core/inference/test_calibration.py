"""Probabilities from logits: temperature, exponent and beta calibration."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle.config import Config
from core.bundle.folder import Bundle
from core.inference.calibration import calibrated, probabilities, softmax
from tests.conftest import ROOT


def at(temperature: float) -> Config:
    config = Bundle.open(ROOT / "models" / "classic").config
    plain = {"temperature": temperature, "exponent": 1.0, "beta": (1.0, 1.0, 0.0)}
    return config.model_copy(update=plain)


def test_softmax_is_stable_for_large_logits() -> None:
    logits = np.array([[1000.0, 999.0], [-1000.0, -1000.0]])
    assert softmax(logits)[0] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.e)])
    assert softmax(logits)[1] == pytest.approx([0.5, 0.5])
    assert probabilities(np.array([[1.0, 0.0]]), 2.0)[0, 0] == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_exponent_scales_logits_as_in_the_formula() -> None:
    logits = np.array([[4.0, 1.0, 1.0]])  # 2, -1 and -1 from their mean
    powers = np.exp([2 * 4.01**-0.25 / 0.5, *[-(1.01**-0.25) / 0.5] * 2])
    assert probabilities(logits, 0.5, 0.5)[0] == pytest.approx(powers / powers.sum())


def test_beta_calibration_keeps_proportions_of_other_classes() -> None:
    config = at(1.0).model_copy(update={"beta": (0.5, 2.0, -0.3)})
    logits = np.array([[2.0, 1.0, 0.0, -1.0], [0.0, 5.0, 0.0, 1.0]])
    plain, moved = probabilities(logits, 1.0), calibrated(logits, config)
    for before, after in zip(plain, moved, strict=True):
        best = before.argmax()
        odds = 0.5 * np.log(before[best]) - 2 * np.log(1 - before[best]) - 0.3
        assert after[best] == pytest.approx(1 / (1 + np.exp(-odds)))
        rest = np.arange(4) != best
        assert after[rest] / after[rest].sum() == pytest.approx(before[rest] / before[rest].sum())
    assert moved.sum(axis=1) == pytest.approx([1, 1])
    assert calibrated(logits, at(1.0)) == pytest.approx(plain), "(1, 1, 0) is the identity"


def test_beta_calibration_keeps_the_predicted_class() -> None:
    config = at(1.0).model_copy(update={"beta": (1.0, 1.0, -9.0)})
    logits = np.random.default_rng(2).normal(size=(200, 5))
    moved = calibrated(logits, config)
    best = logits.argmax(axis=1)
    assert np.array_equal(moved.argmax(axis=1), best)
    huge = np.array([[5e4, -5e4, 0.0, 1.0]])
    assert np.isfinite(calibrated(huge, config)).all()


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_exponent_keeps_the_order_of_classes(exponent: float) -> None:
    logits = np.random.default_rng(1).normal(size=(500, 7)) * 0.3
    scores = probabilities(logits, 0.7, exponent)
    assert np.array_equal(scores.argsort(axis=1), logits.argsort(axis=1))
