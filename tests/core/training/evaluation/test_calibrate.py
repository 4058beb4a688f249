from __future__ import annotations

import numpy as np
import pytest

from core.bundle.folder import Bundle
from core.inference.calibration import probabilities, softmax
from core.training.evaluation.calibrate import (
    cross_fitted,
    ece,
    ece_if_true,
    find_beta,
    find_calibration,
    find_unsure_below,
    log_loss,
    reliability,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(("temperature", "exponent"), [(3.0, 1.0), (0.4, 0.5), (1.0, 1.5)])
def test_the_calibration_of_known_probabilities_is_found(
    temperature: float, exponent: float
) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (100_000, 5)).astype(np.float32)
    chances = probabilities(logits, temperature, exponent).cumsum(axis=1)
    labels = (rng.random((len(chances), 1)) > chances).sum(axis=1)
    found = find_calibration(logits, labels)
    assert found == pytest.approx((temperature, exponent), rel=0.05)
    scores = probabilities(logits, *found)
    assert log_loss(scores, labels) < log_loss(softmax(logits), labels)
    right = scores.argmax(axis=1) == labels
    assert ece(reliability(scores.max(axis=1), right)) < 0.01


def test_the_beta_of_known_confidences_is_found() -> None:
    rng = np.random.default_rng(0)
    scores = softmax(rng.normal(0, 2, (200_000, 4)))
    largest = scores.max(axis=1)
    odds = 0.6 * np.log(largest) - 1.5 * np.log(1 - largest) - 0.4
    right = rng.random(len(odds)) < 1 / (1 + np.exp(-odds))
    labels = np.where(right, scores.argmax(axis=1), scores.argmin(axis=1))
    assert find_beta(scores, labels) == pytest.approx((0.6, 1.5, -0.4), abs=0.1)


def test_log_loss_of_even_odds() -> None:
    assert log_loss(np.full((7, 4), 0.25), np.arange(7) % 4) == pytest.approx(np.log(4))


def test_ece_by_hand() -> None:
    # Half the answers at .9, of which half are right; half at 1.0, all right.
    confidences = np.array([0.9, 0.9, 1.0, 1.0])
    right = np.array([True, False, True, True])
    bins = reliability(confidences, right)
    assert len(bins) == 15
    assert [b.n for b in bins if b.n] == [2, 2]
    assert ece(bins) == pytest.approx(0.5 * 0.4)


def test_unsure_below_is_the_smallest_good_threshold() -> None:
    confidences = np.linspace(0, 1, 1001)
    right = confidences >= 0.5
    # From t < .5 on, (1 - .5) / (1 - t) of the answers are right: 95% at t = 1 - .5 / .95.
    threshold = find_unsure_below(confidences, right, np.ones(1001))
    assert threshold == pytest.approx(1 - 0.5 / 0.95, abs=2e-3)
    assert right[confidences >= threshold].mean() >= 0.95


def test_unsure_below_when_no_threshold_is_good() -> None:
    wrong = np.zeros(1000, bool)
    assert find_unsure_below(np.linspace(0, 1, 1000), wrong, np.ones(1000)) == 1.0
    few = np.ones(10, bool)
    assert find_unsure_below(np.ones(10), few, np.ones(10)) == 1.0, "too few to tell"


def test_equal_confidences_stay_together() -> None:
    confidences = np.full(100, 0.7)
    right = np.arange(100) < 94
    assert find_unsure_below(confidences, right, np.ones(len(right))) == 1.0


def test_heavier_answers_count_more() -> None:
    """Of a few photos, and many rows that are all right."""
    confidences = np.concatenate([np.full(900, 0.9), np.linspace(0.1, 0.8, 100)])
    right = np.concatenate([np.ones(900, bool), np.arange(100) % 2 == 0])
    assert find_unsure_below(confidences, right, np.ones(1000)) == pytest.approx(0.1)
    even = np.concatenate([np.full(900, 1 / 900), np.full(100, 1 / 100)])
    threshold = find_unsure_below(confidences, right, even)
    kept = confidences >= threshold
    assert threshold > 0.6
    assert (even * right)[kept].sum() / even[kept].sum() >= 0.95


def test_cross_fitted_confidences_are_less_optimistic_and_nearly_true() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 4)).astype(np.float32) * 3
    # Labels are drawn from the softmax of half the logits, so a temperature of 2 is right.
    shares = softmax(logits / 2)
    labels = np.asarray([rng.choice(4, p=row) for row in shares])
    config = Bundle.open(ROOT / "models" / "classic").config
    half, rest = (logits[:1000], labels[:1000]), (logits[1000:], labels[1000:])
    first, second = cross_fitted([half, rest], config)
    assert first.shape == second.shape == (1000,)
    right = half[0].argmax(axis=1) == half[1]
    assert abs(float(first.mean()) - float(right.mean())) < 0.05
    assert ece(reliability(first, right)) < 0.08


def test_ece_of_a_true_model_is_above_nothing_and_falls_with_rows() -> None:
    sure = np.random.default_rng(0).uniform(0.5, 1, 400)
    right = np.ones(400, bool)
    few = ece_if_true(reliability(sure[:50], right[:50]))
    many = ece_if_true(reliability(sure, right))
    assert 0 < few[0] < few[1]
    assert many[1] < few[1]
