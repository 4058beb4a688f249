"""Example photos for the tab Predict."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np
from gradio.media import get_image
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["seascape", "ship", "write"]


def write() -> dict[str, Path]:
    """Write the example photos to a temporary folder, one for each verdict of the default model.

    Returns:
        Paths by the key of the button text. The files are deleted at process exit. Each click
        copies one to Gradio's uploads, which Gradio deletes after some minutes.
    """
    folder = Path(tempfile.mkdtemp(prefix="tensight-examples-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    drawn, lion, tower = (
        folder / name for name in ("example-ship.jpg", "example-lion.png", "example-tower.jpg")
    )
    seascape(960, 720).save(drawn, quality=90)
    with Image.open(get_image("lion.jpg")) as sharp:
        # Without the blur, the default model takes the lion for a cat.
        nearer = sharp.crop((16, 16, *sharp.size))
        nearer.filter(ImageFilter.GaussianBlur(4)).save(lion)
    shutil.copyfile(get_image("tower.jpg"), tower)
    return {"example_ship": drawn, "example_lion": lion, "example_tower": tower}


def ship(width: int, height: int) -> Image.Image:
    """Draw a freighter on the sea under a clear sky.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """
    image = Image.new("RGB", (width, height), (150, 190, 230))
    draw = ImageDraw.Draw(image)

    def box(left: float, top: float, right: float, bottom: float, colour: str) -> None:
        draw.rectangle((left * width, top * height, right * width, bottom * height), colour)

    draw.rectangle((0, 0.62 * height, width, height), (40, 80, 130))
    hull = [(0.1, 0.52), (0.92, 0.52), (0.84, 0.68), (0.18, 0.68)]
    draw.polygon([(x * width, y * height) for x, y in hull], "#7a2020")
    box(0.16, 0.34, 0.3, 0.52, "#f0f0f0")
    box(0.2, 0.24, 0.25, 0.34, "#303030")
    for i, colour in enumerate(("#b04020", "#3060a0", "#c0a030", "#507050")):
        box(0.36 + 0.12 * i, 0.42, 0.46 + 0.12 * i, 0.52, colour)
    return image


def seascape(width: int, height: int) -> Image.Image:
    """Draw the scene of `ship` with waves, haze and slight defocus, closer to a real photo.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """
    rng = np.random.default_rng(0)

    def cloudy(rows: int, columns: int) -> NDArray[np.float64]:
        coarse = Image.fromarray(rng.integers(0, 256, (rows, columns), np.uint8))
        fine = coarse.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(fine, np.float64)[..., None] - 128

    plain = np.asarray(ship(width, height), np.float64)
    sea = np.abs(plain - (40, 80, 130)).sum(axis=-1, keepdims=True) == 0
    shaded = plain + np.where(sea, 0.35 * cloudy(120, 30), 0.12 * cloudy(10, 13))
    image = Image.fromarray(shaded.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(width / 400))
