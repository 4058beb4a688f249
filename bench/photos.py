"""Photos to measure with; made, since none is part of the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_photos(plain: Path, progressive: Path) -> None:
    """Write a photo of 12 megapixels as a phone would, and as a web site would.

    It is noise of every scale, finer detail weaker, as in the photos that people take.
    """
    width, height = 4000, 3000
    rng = np.random.default_rng(0)
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(11):
        cells = 2 ** (octave + 2)
        noise = rng.integers(0, 256, (cells * 3 // 4, cells, 3), np.uint8)
        scaled = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(scaled, np.float32) - 128) * 0.7**octave
    photo = Image.fromarray(np.clip(128 + total * 0.4, 0, 255).astype(np.uint8))
    photo.save(plain, "JPEG", quality=85)
    photo.save(progressive, "JPEG", quality=85, progressive=True)
