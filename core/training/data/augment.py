"""Random changes of images that leave what they show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cut_out", "random_crops", "random_window"]

_LEAST_AREA = 0.5


def random_crops(
    images: NDArray[np.uint8], padding: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Windows of the same size at random places of images with a reflected border.

    Args:
        images: Shape (n, h, w, 3).
        padding: Width of the border, pixels.
        rng: Where the chance comes from.
    """
    n, height, width, _ = images.shape
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, border, mode="reflect")
    top, left = rng.integers(0, 2 * padding + 1, (2, n, 1, 1))
    rows = top + np.arange(height)[None, :, None]
    columns = left + np.arange(width)[None, None, :]
    crops: NDArray[np.uint8] = padded[np.arange(n)[:, None, None], rows, columns]
    return crops


def random_window(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A part of at least half the area, its sides as 3 to 4 at most (Szegedy et al. 2015)."""
    height, width = image.shape[:2]
    area = rng.uniform(_LEAST_AREA, 1) * height * width
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    tall = min(height, max(1, round(np.sqrt(area / aspect))))
    wide = min(width, max(1, round(np.sqrt(area * aspect))))
    top = rng.integers(0, height - tall + 1)
    left = rng.integers(0, width - wide + 1)
    return image[top : top + tall, left : left + wide]


def cut_out(inputs: NDArray[np.float32], side: int, rng: np.random.Generator) -> None:
    """Set a square in each image to 0, the mean (DeVries and Taylor 2017)."""
    n, height, width, _ = inputs.shape
    for image, top, left in zip(
        inputs,
        rng.integers(0, height - side + 1, n),
        rng.integers(0, width - side + 1, n),
        strict=True,
    ):
        image[top : top + side, left : left + side] = 0
