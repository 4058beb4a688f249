"""Fitting calibration and thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle.folder import Bundle
from core.inference.calibration import probabilities, softmax
from core.inference.reliability import (
    ece,
    fit_unsure_threshold,
    log_loss,
    reliability,
)
from core.training.evaluation.calibration import (
    cross_fitted_confidences,
    fit_beta_calibration,
    fit_temperature,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(("temperature", "exponent"), [(3.0, 1.0), (0.4, 0.5), (1.0, 1.5)])
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


def test_unsure_threshold_is_the_smallest_sufficient_one() -> None:
    confidences = np.linspace(0, 1, 1001)
    right = confidences >= 0.8
    # From t < .8 on, (1 - .8) / (1 - t) of the predictions are right: 95% at t = 1 - .2 / .95.
    threshold = fit_unsure_threshold(confidences, right, np.ones(1001))
    assert threshold == pytest.approx(1 - 0.2 / 0.95, abs=2e-3)
    assert right[confidences >= threshold].mean() >= 0.95


def test_unsure_threshold_is_one_without_a_sufficient_one() -> None:
    wrong = np.zeros(1000, bool)
    assert fit_unsure_threshold(np.linspace(0, 1, 1000), wrong, np.ones(1000)) == 1.0
    few = np.ones(10, bool)
    assert fit_unsure_threshold(np.ones(10), few, np.ones(10)) == 1.0, "too few to tell"


def test_unsure_threshold_is_at_least_one_half() -> None:
    assert fit_unsure_threshold(np.linspace(0, 1, 1000), np.ones(1000, bool), np.ones(1000)) == 0.5


def test_unsure_threshold_keeps_equal_confidences_together() -> None:
    confidences = np.full(100, 0.7)
    right = np.arange(100) < 94
    assert fit_unsure_threshold(confidences, right, np.ones(len(right))) == 1.0


def test_unsure_threshold_respects_weights() -> None:
    """Of a few photos, and many rows that are all right."""
    confidences = np.concatenate([np.full(900, 0.9), np.linspace(0.6, 0.8, 100)])
    right = np.concatenate([np.ones(900, bool), np.arange(100) % 2 == 0])
    assert fit_unsure_threshold(confidences, right, np.ones(1000)) == pytest.approx(0.6)
    even = np.concatenate([np.full(900, 1 / 900), np.full(100, 1 / 100)])
    threshold = fit_unsure_threshold(confidences, right, even)
    kept = confidences >= threshold
    assert threshold > 0.7
    assert (even * right)[kept].sum() / even[kept].sum() >= 0.95


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
