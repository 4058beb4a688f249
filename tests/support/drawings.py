"""Generated images, since the repository contains no photos."""

from __future__ import annotations

from PIL import Image

from demo.tabs.examples import seascape, ship

__all__ = ["gradient", "seascape", "ship"]


def gradient(width: int, height: int) -> Image.Image:
    """Draw a gradient: red to the right and green downwards, so that every rotation differs."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
