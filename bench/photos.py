"""Synthetic photos for the benchmarks; the repository contains no photos."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["Photos", "make_photos"]


@dataclass(frozen=True)
class Photos:
    """Paths of the photos.

    Attributes:
        large: Baseline JPEG of 12 megapixels, as from a phone camera.
        progressive: The same image as a progressive JPEG, as on web sites.
        typical: JPEG of 1280 × 960 pixels and about 200 kB, as from a messenger.
    """

    large: Path
    progressive: Path
    typical: Path


def make_photos(folder: Path) -> Photos:
    """Generate the photos in a folder.

    They consist of noise at 11 octaves with decreasing amplitude, so that size and decoding time
    are close to those of real photos.

    Args:
        folder: Existing folder.

    Raises:
        RuntimeError: The photos could not be generated.
    """
    photos = Photos(folder / "large.jpg", folder / "progressive.jpg", folder / "typical.jpg")
    # A child inherits its parent's resident size as its own peak, so the memory-intensive work is
    # done in a separate process.
    generator = multiprocessing.get_context("spawn").Process(target=_generate, args=(photos,))
    generator.start()
    generator.join()
    if generator.exitcode != 0:
        raise RuntimeError("The photos could not be generated; the error is printed above.")
    return photos


def _generate(photos: Photos) -> None:
    width, height = 4000, 3000
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(11):
        cells = 2 ** (octave + 2)
        noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), np.uint8)
        scaled = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(scaled, np.float32) - 128) * 0.82**octave
    photo = Image.fromarray(np.clip(128 + total * 0.35, 0, 255).astype(np.uint8))
    photo.save(photos.large, "JPEG", quality=85)
    photo.save(photos.progressive, "JPEG", quality=85, progressive=True)
    photo.resize((1280, 960), Image.Resampling.BICUBIC).save(photos.typical, "JPEG", quality=78)
