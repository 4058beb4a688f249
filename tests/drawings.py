"""Pictures that tests draw, since no photo is part of the repository."""

from __future__ import annotations

from PIL import Image, ImageDraw


def ship(width: int, height: int) -> Image.Image:
    """A freighter on the sea under a clear sky."""
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


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards: every place and turn can be told."""
    red = Image.linear_gradient("L").rotate(90).resize((width, height))
    green = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (red, green, Image.new("L", (width, height), 60)))
