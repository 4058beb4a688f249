from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.errors import TrainingError
from core.training.data.batches import (
    Batches,
    FixedBatches,
    LabelledAccuracy,
    PartialCrossentropy,
    TrainingData,
)
from core.training.data.datasets import Split
from core.training.recipes import Recipe, get_recipe

CLASSES = 4


def split(n: int, side: int, labels: int, seed: int = 0) -> Split:
    """Images of noise, as sharp as images can be."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, side, side, 3), np.uint8)
    return Split(images, np.arange(n, dtype=np.int64) % labels, np.arange(n))


def plain(**changes: object) -> Recipe:
    """A recipe that changes no image."""
    recipe = replace(get_recipe("baseline"), batch_size=20, crop_padding=0, flip=None)
    return replace(recipe, **changes)  # type: ignore[arg-type]  # names and types of a dict


def all_of(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    pairs = [batches[i] for i in range(len(batches))]
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def test_the_same_seed_and_epoch_give_the_same_batches() -> None:
    material = TrainingData(split(50, 32, 3))
    recipe = get_recipe("baseline")
    recipe = replace(recipe, batch_size=20)
    first, again = (Batches(material, recipe, 3, seed=1, epoch=1)[0] for _ in range(2))
    other = Batches(material, recipe, 3, seed=1, epoch=2)[0]
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == (20, 32, 32, 3)
    assert first[0].dtype == np.float32
    assert first[1].sum(axis=1).tolist() == [1] * 20


def test_alternating_flips_show_both_sides_in_two_epochs() -> None:
    rows = split(40, 32, 4)
    seen = []
    for epoch in (1, 2):
        batches = Batches(TrainingData(rows), plain(flip="alternating"), CLASSES, 3, epoch)
        inputs, _ = all_of(batches)
        # By its sum, which no flip changes, an image is known again.
        order = np.argsort(inputs.sum(axis=(1, 2, 3)))
        seen.append(inputs[order])
    mirrored = [np.allclose(a, b[:, ::-1]) for a, b in zip(*seen, strict=True)]
    assert all(mirrored)


def test_cutout_sets_a_square_to_the_mean() -> None:
    batches = Batches(TrainingData(split(20, 32, 4)), plain(cutout=8), CLASSES, 0, 1)
    inputs, _ = batches[0]
    for image in inputs:
        rows, columns = np.nonzero((image == 0).all(axis=-1))
        assert len(rows) == 64
        assert rows.max() - rows.min() == columns.max() - columns.min() == 7


def test_images_grow_over_the_epochs() -> None:
    recipe = plain(epochs=10, sides=((0.0, 16), (0.5, 24)))
    sides = [recipe.side(epoch) for epoch in range(1, 11)]
    assert sides == [16] * 5 + [24] * 5
    assert Batches(TrainingData(split(20, 32, 4)), recipe, CLASSES, 0, 6)[0][0].shape[1:3] == (
        24,
        24,
    )
    with pytest.raises(TrainingError, match="must rise from 0"):
        plain(sides=((0.5, 24), (0.0, 16)))
    assert plain().side(1) == 32
    assert (recipe.shape, plain().shape) == ((None, None, 3), (32, 32, 3))


def test_what_each_kind_of_image_means_to_the_loss() -> None:
    recipe = plain(photos=True, outliers=30, outlier_weight=0.5)
    # Photos show classes 0 and 1 of the four.
    material = TrainingData(split(40, 32, 4), split(40, 64, 2, seed=1), split(60, 64, 9, seed=2))
    assert len(material) == 140
    batches = Batches(material, recipe, CLASSES, 0, 1)
    assert len(batches) == (40 + 40 + 30) // 20
    inputs, targets = all_of(batches)
    outliers = np.all(targets == 0.125, axis=1)
    sharp = np.all(targets[:, 2:] == -1, axis=1)
    labelled = targets.max(axis=1) == 1
    assert 20 <= outliers.sum() <= 30
    assert np.all(outliers ^ labelled)
    assert 5 < sharp.sum() < 35, "about half of forty"
    assert np.all(targets[sharp][:, :2].sum(axis=1) == 1)
    assert np.all(np.isfinite(inputs))


def test_coarse_photos_have_the_detail_of_32_pixels() -> None:
    recipe = plain(photos=True, input=get_recipe("mobilenet").input)
    batches = Batches(
        TrainingData(split(20, 32, 4), split(40, 64, 2, seed=1)), recipe, CLASSES, 0, 1
    )
    inputs, targets = all_of(batches)
    detail = np.abs(np.fft.fft2(inputs, axes=(1, 2)))[:, 20:-20, 20:-20].mean(axis=(1, 2, 3))
    sharp = np.any(targets == -1, axis=1)
    assert detail[sharp].min() > 2 * detail[~sharp].max()


def test_held_out_rows_come_in_order_and_whole() -> None:
    rows = split(300, 32, 4)
    batches = FixedBatches(rows, plain().input, CLASSES)
    targets = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert targets.argmax(axis=1).tolist() == rows.labels.tolist()
    assert sum(len(batches[i][0]) for i in range(len(batches))) == 300


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_where_every_class_takes_part(smoothing: float) -> None:
    logits = np.random.default_rng(0).normal(size=(6, CLASSES)).astype(np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    ours = PartialCrossentropy(smoothing)
    assert float(ours(targets, logits)) == pytest.approx(float(expected(targets, logits)), rel=1e-5)
    half = PartialCrossentropy(smoothing)(0.5 * targets, logits)
    assert float(half) == pytest.approx(0.5 * float(expected(targets, logits)), rel=1e-5)


def test_a_class_left_out_of_the_loss_is_not_pushed() -> None:
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


def test_accuracy_leaves_outliers_apart() -> None:
    metric = LabelledAccuracy(name="accuracy")
    targets = np.asarray([[1, 0, 0], [0, 1, -1], [0.2, 0.2, 0.2]], np.float32)
    logits = np.asarray([[3, 0, 0], [3, 0, 0], [3, 0, 0]], np.float32)
    metric.update_state(targets, logits)
    assert float(metric.result()) == 0.5
