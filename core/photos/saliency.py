"""What in a photo spoke for the answer, drawn over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.photos.preprocess import InputSpec, center_crop_box

__all__ = ["MAX_SIDE", "heat", "overlay"]

MAX_SIDE = 1024
"""Pixels of the longer side of a picture, at most."""

# From where little spoke for the answer to where most did: blue, yellow, red.
_COLOURS = np.array([(40, 60, 200), (250, 220, 60), (220, 30, 30)], np.float32)


def heat(saliency: NDArray[np.float32], size: tuple[int, int], spec: InputSpec) -> Image.Image:
    """A saliency map as a picture to lay over its photo.

    Args:
        saliency: As in `Prediction`: of the model's input size, 0 to 1.
        size: Width and height of the photo, pixels.
        spec: The model's input, which says what part of the photo the map is of.

    Returns:
        RGBA of that size: coloured where something spoke for the answer, and clear where nothing
        did or the model did not look.
    """
    left, top, right, bottom = (round(edge) for edge in center_crop_box(*size, spec))
    share = np.asarray(
        Image.fromarray(saliency).resize((right - left, bottom - top), Image.Resampling.BILINEAR),
        np.float32,
    ).clip(0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(share, steps, colour) for colour in _COLOURS.T]
    pixels = np.stack([*channels, np.round(255 * share)], axis=-1).astype(np.uint8)
    drawn = Image.new("RGBA", size)
    drawn.paste(Image.fromarray(pixels), (left, top))
    return drawn


def overlay(
    rgb: NDArray[np.uint8], saliency: NDArray[np.float32], spec: InputSpec, *, opacity: float = 0.6
) -> Image.Image:
    """Draw a saliency map over its photo.

    Args:
        rgb: The photo, shape (h, w, 3); it comes back with at most 1,024 pixels a side.
        saliency: As in `Prediction`: of the model's input size, 0 to 1.
        spec: The model's input, which says what part of the photo that is.
        opacity: Of the colours where most spoke for the answer, 0 to 1.
    """
    photo = Image.fromarray(rgb)
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    drawn = heat(saliency, photo.size, spec)
    photo.paste(drawn, (0, 0), drawn.getchannel("A").point(lambda level: round(level * opacity)))
    return photo
