"""Generated images, since the repository contains no photos."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw

from demo.tabs.examples import seascape, ship

__all__ = ["gradient", "seascape", "shape_jpeg", "ship", "with_pixel"]


def shape_jpeg(kind: str, seed: int, side: int = 96) -> bytes:
    """Draw a shape at a random place on noise, and encode it as JPEG.

    Args:
        kind: `circle` (red), `square` (green) or `bars` (blue).
        seed: Of place, size and noise.
        side: Width and height in pixels.
    """
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 140, (side, side, 3), np.uint8))
    draw = ImageDraw.Draw(image)
    left, top = (int(n) for n in rng.integers(2, side // 3, 2))
    size = int(rng.integers(side // 3, side // 2))
    box = (left, top, left + size, top + size)
    match kind:
        case "circle":
            draw.ellipse(box, "#e02020")
        case "square":
            draw.rectangle(box, "#20c030")
        case _:
            for row in range(0, side, 12):
                draw.rectangle((0, row + left % 6, side, row + left % 6 + 4), "#2030d0")
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def with_pixel(photo: bytes, level: int) -> bytes:
    """Return a photo with one changed pixel in its corner, an invisible difference."""
    image = Image.open(BytesIO(photo)).convert("RGB")
    image.putpixel((0, 0), (level, level, level))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """Draw a gradient: red to the right and green downwards, so that every rotation differs."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
