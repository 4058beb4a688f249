"""Loss and metric of training."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.training.networks.losses import LabelledAccuracy, PartialCrossentropy

CLASSES = 4


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_partial_crossentropy_ignores_the_masked_classes(smoothing: float) -> None:
    logits = np.random.default_rng(0).normal(size=(6, CLASSES)).astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    ours = PartialCrossentropy(smoothing)
    assert float(ours(targets, logits)) == pytest.approx(float(expected(targets, logits)), rel=1e-5)
    half = PartialCrossentropy(smoothing)(0.5 * targets, logits)
    assert float(half) == pytest.approx(0.5 * float(expected(targets, logits)), rel=1e-5)


def test_partial_crossentropy_has_no_gradient_at_ignored_classes() -> None:
    logits = tf.constant([[1.0, 2.0, 50.0, -3.0]])
    targets = np.asarray([[1, 0, -1, -1]], np.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = PartialCrossentropy(0.1)(targets, logits)
    gradient = np.asarray(tape.gradient(loss, logits))[0]
    assert gradient[2:].tolist() == [0, 0]
    assert gradient[0] < 0 < gradient[1]
    two = PartialCrossentropy(0.1)(targets[:, :2], logits[:, :2])
    assert float(loss) == pytest.approx(float(two), rel=1e-5)


def test_labelled_accuracy_ignores_outliers() -> None:
    metric = LabelledAccuracy(name="accuracy")
    targets = np.asarray([[1, 0, 0], [0, 1, -1], [0.2, 0.2, 0.2]], np.float32)
    logits = np.asarray([[3, 0, 0], [3, 0, 0], [3, 0, 0]], np.float32)
    metric.update_state(targets, logits)
    assert float(metric.result()) == 0.5
