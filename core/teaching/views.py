"""Views of a photo to learn from: unchanged, mirrored, and zoomed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.photos.prepare import PreparedPhoto
from core.photos.preprocess import InputSpec, resize

__all__ = ["MAX_VIEWS", "preview_side", "views_of"]

_ZOOMS = (0.8, 0.65)
MAX_VIEWS = 2 + len(_ZOOMS)
"""Number of views of a photo, unless that makes the stored examples too large."""


def preview_side(spec: InputSpec) -> int:
    """Return the side of the preview, in pixels, that `views_of` needs."""
    # No more than is decoded for the model's input anyway.
    return min(2 * max(spec.height, spec.width), 1024)


def views_of(
    prepared: PreparedPhoto, spec: InputSpec, count: int = MAX_VIEWS
) -> list[NDArray[np.uint8]]:
    """Return the views of a photo, the unchanged one first, then mirrored, then zoomed.

    Args:
        prepared: The photo as the model gets it, and a preview of it.
        spec: How the model's input is prepared.
        count: Number of views, 1 to `MAX_VIEWS`.

    Returns:
        Arrays of the model's input size, shape (height, width, 3), uint8, RGB.

    Raises:
        ValueError: The photo was prepared without input or preview.
    """
    if prepared.crops is None or prepared.preview is None:
        raise ValueError("the photo was prepared without input or preview")
    unchanged = prepared.crops[0]
    views = [unchanged, np.ascontiguousarray(unchanged[:, ::-1])]
    for i, zoom in enumerate(_ZOOMS):
        zoomed = resize(_center_crop(prepared.preview, zoom), spec)
        views.append(np.ascontiguousarray(zoomed[:, ::-1]) if i % 2 else zoomed)
    return views[:count]


def _center_crop(rgb: NDArray[np.uint8], fraction: float) -> NDArray[np.uint8]:
    """Return the middle of an image, with a fraction of its width and height."""
    height, width = rgb.shape[:2]
    rows, columns = max(8, round(height * fraction)), max(8, round(width * fraction))
    top, left = max(0, (height - rows) // 2), max(0, (width - columns) // 2)
    return np.asarray(
        Image.fromarray(rgb).crop((left, top, min(width, left + columns), min(height, top + rows)))
    )
