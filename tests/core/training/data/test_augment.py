"""Random augmentations of images."""

from __future__ import annotations

import numpy as np

from core.training.data.augment import cut_out, random_crops, random_resized_window


def test_crop_is_a_window_of_the_reflected_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 6, 3), np.uint8)
    crops = random_crops(images, 2, np.random.default_rng(1))
    assert crops.shape == images.shape
    assert not np.array_equal(crops, images)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for crop, source in zip(crops, padded, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(source, (8, 6, 3))[:, :, 0]
        assert (windows == crop).all(axis=(-3, -2, -1)).any()


def test_window_has_at_least_half_of_the_area_and_a_bounded_aspect_ratio() -> None:
    rng, image = np.random.default_rng(0), np.zeros((90, 120, 3), np.uint8)
    for _ in range(200):
        height, width, _ = random_resized_window(image, rng).shape
        assert 0.45 <= height * width / image[..., 0].size <= 1
        assert 0.7 < width / height < 1.4


def test_cut_out_sets_one_square_of_each_image_to_the_mean() -> None:
    inputs = np.ones((10, 16, 12, 3), np.float32)
    cut_out(inputs, 5, np.random.default_rng(0))
    for image in inputs:
        rows, columns = np.nonzero(image[..., 0] == 0)
        assert len(rows) == 25
        assert np.ptp(rows) == np.ptp(columns) == 4
