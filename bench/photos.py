"""Photos to measure with; made, since none is part of the repository."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["Photos", "make_photos"]


@dataclass(frozen=True)
class Photos:
    """Files.

    Attributes:
        large: A JPEG of 12 megapixels, as a phone writes it.
        progressive: The same, as web sites keep it.
        usual: A JPEG of about 200 kB, as messengers send it.
    """

    large: Path
    progressive: Path
    usual: Path


def make_photos(folder: Path) -> Photos:
    """Write photos into a folder.

    They are noise of every scale, finer detail weaker, as in the photos that people take.
    """
    photos = Photos(folder / "large.jpg", folder / "progressive.jpg", folder / "usual.jpg")
    # In a process of its own: a child's peak memory, as the system counts it, is at least what its
    # parent held when it was started.
    maker = multiprocessing.get_context("spawn").Process(target=_make, args=(photos,))
    maker.start()
    maker.join()
    if maker.exitcode != 0:
        raise RuntimeError("The photos to measure with could not be made.")
    return photos


def _make(photos: Photos) -> None:
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
    photo.resize((1280, 960), Image.Resampling.BICUBIC).save(photos.usual, "JPEG", quality=78)
