"""Fitting of calibration."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle.folder import Bundle
from core.inference.calibration import probabilities, softmax
from core.inference.reliability import ece, log_loss, reliability
from core.training.evaluation.calibration import (
    cross_fitted_confidences,
    fit_beta_calibration,
    fit_temperature,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("temperature", "exponent"),
    [
        pytest.param(3.0, 1.0, marks=pytest.mark.long),
        (0.4, 0.5),
        pytest.param(1.0, 1.5, marks=pytest.mark.long),
    ],
)
def test_fit_temperature_recovers_known_parameters(temperature: float, exponent: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (100_000, 5)).astype(np.float32)
    chances = probabilities(logits, temperature, exponent).cumsum(axis=1)
    labels = (rng.random((len(chances), 1)) > chances).sum(axis=1)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx((temperature, exponent), rel=0.05)
    scores = probabilities(logits, *found)
    assert log_loss(scores, labels) < log_loss(softmax(logits), labels)
    right = scores.argmax(axis=1) == labels
    assert ece(reliability(scores.max(axis=1), right)) < 0.01


def test_fit_beta_calibration_recovers_known_parameters() -> None:
    rng = np.random.default_rng(0)
    scores = softmax(rng.normal(0, 2, (200_000, 4)))
    largest = scores.max(axis=1)
    odds = 0.6 * np.log(largest) - 1.5 * np.log(1 - largest) - 0.4
    right = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    labels = np.where(right, scores.argmax(axis=1), scores.argmin(axis=1))
    assert fit_beta_calibration(scores, labels) == pytest.approx((0.6, 1.5, -0.4), abs=0.1)


def test_cross_fitted_confidences_are_nearly_calibrated() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 4)).astype(np.float32) * 3
    # Labels are drawn from the softmax of half the logits, so a temperature of 2 is right.
    shares = softmax(logits / 2)
    labels = np.asarray([rng.choice(4, p=row) for row in shares])
    config = Bundle.open(ROOT / "models" / "classic").config
    half, rest = (logits[:1000], labels[:1000]), (logits[1000:], labels[1000:])
    first, second = cross_fitted_confidences([half, rest], config)
    assert first.shape == second.shape == (1000,)
    right = half[0].argmax(axis=1) == half[1]
    assert abs(float(first.mean()) - float(right.mean())) < 0.05
    assert ece(reliability(first, right)) < 0.08
