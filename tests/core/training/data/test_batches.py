"""Batches of rows, sharp images and outliers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.errors import TrainingError
from core.training.data.batches import Batches, FixedBatches, TrainingData
from core.training.data.datasets import Split
from core.training.recipe import Recipe
from core.training.recipes import get_recipe

CLASSES = 4


def split(n: int, side: int, labels: int, seed: int = 0) -> Split:
    """Return images of noise, which have full detail."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, side, side, 3), np.uint8)
    return Split(images, np.arange(n, dtype=np.int64) % labels, np.arange(n))


def plain(**changes: object) -> Recipe:
    """Return a recipe without augmentation."""
    recipe = replace(get_recipe("baseline"), batch_size=20, crop_padding=0, flip=None)
    return replace(recipe, **changes)  # type: ignore[arg-type]  # names and types of a dict


def all_of(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    pairs = [batches[i] for i in range(len(batches))]
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


def test_batches_depend_on_seed_and_epoch_alone() -> None:
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
        # An image is identified by its sum, which flips do not change.
        order = np.argsort(inputs.sum(axis=(1, 2, 3)))
        seen.append(inputs[order])
    mirrored = [np.allclose(a, b[:, ::-1]) for a, b in zip(*seen, strict=True)]
    assert all(mirrored)


def test_cutout_sets_square_to_mean() -> None:
    batches = Batches(TrainingData(split(20, 32, 4)), plain(cutout=8), CLASSES, 0, 1)
    inputs, _ = batches[0]
    for image in inputs:
        rows, columns = np.nonzero((image == 0).all(axis=-1))
        assert len(rows) == 64
        assert rows.max() - rows.min() == columns.max() - columns.min() == 7


def test_side_schedule_grows_images_over_epochs() -> None:
    recipe = plain(epochs=10, side_schedule=((0.0, 16), (0.5, 24)))
    sides = [recipe.side_at(epoch) for epoch in range(1, 11)]
    assert sides == [16] * 5 + [24] * 5
    assert Batches(TrainingData(split(20, 32, 4)), recipe, CLASSES, 0, 6)[0][0].shape[1:3] == (
        24,
        24,
    )
    with pytest.raises(TrainingError, match="must rise from 0"):
        plain(side_schedule=((0.5, 24), (0.0, 16)))
    assert plain().side_at(1) == 32
    assert (recipe.input_shape, plain().input_shape) == ((None, None, 3), (32, 32, 3))


def test_targets_follow_origin_of_each_image() -> None:
    recipe = plain(tiny_imagenet=True, outliers_per_epoch=30, outlier_weight=0.5)
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


def test_coarse_images_have_the_detail_of_32_pixels() -> None:
    recipe = plain(tiny_imagenet=True, input=get_recipe("mobilenet").input)
    batches = Batches(
        TrainingData(split(20, 32, 4), split(40, 64, 2, seed=1)), recipe, CLASSES, 0, 1
    )
    inputs, targets = all_of(batches)
    detail = np.abs(np.fft.fft2(inputs, axes=(1, 2)))[:, 20:-20, 20:-20].mean(axis=(1, 2, 3))
    sharp = np.any(targets == -1, axis=1)
    assert detail[sharp].min() > 2 * detail[~sharp].max()


def test_fixed_batches_keep_order_and_rows() -> None:
    rows = split(300, 32, 4)
    batches = FixedBatches(rows, plain().input, CLASSES)
    targets = np.concatenate([batches[i][1] for i in range(len(batches))])
    assert targets.argmax(axis=1).tolist() == rows.labels.tolist()
    assert sum(len(batches[i][0]) for i in range(len(batches))) == 300
