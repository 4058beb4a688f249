"""Pictures that tests draw, since no photo is part of the repository."""

from __future__ import annotations

from PIL import Image

from demo.tabs.examples import seascape, ship

__all__ = ["gradient", "seascape", "ship"]


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards: every place and turn can be told."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
