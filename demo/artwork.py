"""Draw the icon of the page and the picture of its link previews."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

__all__ = ["PREVIEW_SIZE", "THEME_COLOR", "as_ico", "as_png", "draw_icon", "draw_preview"]

THEME_COLOR = "#4f46e5"
PREVIEW_SIZE = (1200, 630)

_DARK = "#312e81"
_WHITE = "#ffffff"
# Drawn so many times larger and scaled down, for smooth edges.
_SCALE = 4
# Lengths of the bars of an answer, as parts of the longest.
_BARS = (1.0, 0.6, 0.3)


def draw_icon(side: int, *, full_bleed: bool = False) -> Image.Image:
    """Draw the icon: a lens with the bars of an answer in it.

    Args:
        side: Pixels of a side.
        full_bleed: Whether the background fills the square, with the lens within the inner 80 per
            cent that systems which cut icons to a shape leave whole; otherwise its corners are
            round and transparent.
    """
    size = side * _SCALE
    icon = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    pen = ImageDraw.Draw(icon)
    pen.rounded_rectangle(
        (0, 0, size - 1, size - 1), 0 if full_bleed else size * 0.22, fill=THEME_COLOR
    )
    _draw_lens(pen, size / 2, size / 2, size * (0.34 if full_bleed else 0.38))
    return icon.resize((side, side), Image.Resampling.BOX)


def draw_preview() -> Image.Image:
    """Draw the picture of link previews: icon and name. It holds no sentence to translate."""
    width, height = (side * _SCALE // 2 for side in PREVIEW_SIZE)
    picture = Image.new("RGB", (width, height), _DARK)
    pen = ImageDraw.Draw(picture)
    radius = height * 0.3
    left = width * 0.1
    _draw_lens(pen, left + radius, height / 2, radius)
    font = ImageFont.load_default(round(height * 0.2))
    pen.text((left + 2.4 * radius, height / 2), "TenSight", _WHITE, font, anchor="lm")
    return picture.resize(PREVIEW_SIZE, Image.Resampling.BOX)


def as_png(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    stream = BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def as_ico(image: Image.Image) -> bytes:
    """Encode an image as an icon file with that one size."""
    stream = BytesIO()
    image.save(stream, "ICO", sizes=[image.size])
    return stream.getvalue()


def _draw_lens(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    """Draw a ring around a point, and in it three bars, the longest first."""
    pen.ellipse(
        (x - radius, y - radius, x + radius, y + radius),
        outline=_WHITE,
        width=round(radius * 0.16),
    )
    length, thickness = radius * 1.0, radius * 0.2
    for i, part in enumerate(_BARS):
        top = y + (i - 1.5) * thickness * 1.6 + thickness * 0.3
        start = x - length / 2
        box = (start, top, start + part * length, top + thickness)
        pen.rounded_rectangle(box, thickness / 2, fill=_WHITE)
