"""What in a photo spoke for the answer, drawn over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core import images
from core.images import InputSpec

__all__ = ["LONGEST", "overlay"]

LONGEST = 1024
"""Pixels of the longer side of a picture, at most."""

# From where little spoke for the answer to where most did: blue, yellow, red.
_COLOURS = np.array([(40, 60, 200), (250, 220, 60), (220, 30, 30)], np.float32)


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
    photo.thumbnail((LONGEST, LONGEST))
    left, top, right, bottom = (
        round(edge) for edge in images.middle_box(photo.width, photo.height, spec)
    )
    size = (right - left, bottom - top)
    heat = np.asarray(
        Image.fromarray(saliency).resize(size, Image.Resampling.BILINEAR), np.float32
    ).clip(0, 1)
    steps = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(heat, steps, c) for c in _COLOURS.T], axis=-1)
    mask = np.round(255 * opacity * heat).astype(np.uint8)
    photo.paste(Image.fromarray(colours.astype(np.uint8)), (left, top), Image.fromarray(mask))
    return photo
