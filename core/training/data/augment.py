"""Random augmentations that keep the label of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cut_out", "random_crops", "random_resized_window"]

_MIN_AREA = 0.5


def random_crops(
    images: NDArray[np.uint8], padding: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Crop images at random after padding them with a reflected border; the size stays.

    Args:
        images: Images, shape (n, h, w, 3).
        padding: Width of the border in pixels.
        rng: Source of randomness.
    """
    n, height, width, _ = images.shape
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, border, mode="reflect")
    top, left = rng.integers(0, 2 * padding + 1, (2, n, 1, 1))
    rows = top + np.arange(height)[None, :, None]
    columns = left + np.arange(width)[None, None, :]
    crops: NDArray[np.uint8] = padded[np.arange(n)[:, None, None], rows, columns]
    return crops


def random_resized_window(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crop a window of 50% to 100% of the area and an aspect ratio of 3:4 to 4:3.

    Scale and aspect ratio augmentation of Szegedy et al. 2015 (arXiv 1409.4842); the window is not
    resized here.

    Args:
        image: Image, shape (h, w, 3).
        rng: Source of randomness.
    """
    height, width = image.shape[:2]
    area = rng.uniform(_MIN_AREA, 1) * height * width
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    window_height = min(height, max(1, round(np.sqrt(area / aspect))))
    window_width = min(width, max(1, round(np.sqrt(area * aspect))))
    top = rng.integers(0, height - window_height + 1)
    left = rng.integers(0, width - window_width + 1)
    return image[top : top + window_height, left : left + window_width]


def cut_out(inputs: NDArray[np.float32], side: int, rng: np.random.Generator) -> None:
    """Set a random square of each image to 0, in place (DeVries and Taylor 2017, arXiv 1708.04552).

    Args:
        inputs: Normalised images, shape (n, h, w, 3), in which 0 is the mean.
        side: Side of the square in pixels.
        rng: Source of randomness.
    """
    n, height, width, _ = inputs.shape
    for image, top, left in zip(
        inputs,
        rng.integers(0, height - side + 1, n),
        rng.integers(0, width - side + 1, n),
        strict=True,
    ):
        image[top : top + side, left : left + side] = 0
