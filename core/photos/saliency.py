"""Overlays of saliency maps on photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.photos.preprocess import InputSpec, center_crop_box

__all__ = ["MAX_SIDE", "heat", "overlay"]

MAX_SIDE = 1024
"""Maximum length in pixels of the longer side of an overlay."""

# Color map from little to most evidence: blue, yellow, red.
_COLOURS = np.array([(40, 60, 200), (250, 220, 60), (220, 30, 30)], np.float32)


def heat(saliency: NDArray[np.float32], size: tuple[int, int], spec: InputSpec) -> Image.Image:
    """Render a saliency map as a heat map of its photo's size.

    Args:
        saliency: Saliency map of a `Prediction`, shape (height, width) of the model's input, 0 to
            1.
        size: Width and height of the photo in pixels.
        spec: Input specification of the model, which says what part of the photo the map covers.

    Returns:
        RGBA image of that size, transparent where the map is 0 or does not cover the photo.
    """
    left, top, right, bottom = (round(edge) for edge in center_crop_box(*size, spec))
    strength = np.asarray(
        Image.fromarray(saliency).resize((right - left, bottom - top), Image.Resampling.BILINEAR),
        np.float32,
    ).clip(0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(strength, steps, colour) for colour in _COLOURS.T]
    pixels = np.stack([*channels, np.round(255 * strength)], axis=-1).astype(np.uint8)
    heat_map = Image.new("RGBA", size)
    heat_map.paste(Image.fromarray(pixels), (left, top))
    return heat_map


def overlay(
    rgb: NDArray[np.uint8], saliency: NDArray[np.float32], spec: InputSpec, *, opacity: float = 0.6
) -> Image.Image:
    """Draw a saliency map over its photo.

    Args:
        rgb: The photo, RGB array of shape (h, w, 3), uint8.
        saliency: As for `heat`.
        spec: As for `heat`.
        opacity: Opacity of the heat map where the saliency is 1, 0 to 1.

    Returns:
        RGB image of at most 1,024 pixels a side.
    """
    photo = Image.fromarray(rgb)
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    heat_map = heat(saliency, photo.size, spec)
    photo.paste(
        heat_map, (0, 0), heat_map.getchannel("A").point(lambda level: round(level * opacity))
    )
    return photo
