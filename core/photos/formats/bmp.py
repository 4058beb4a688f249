"""Read the header of a BMP file."""

from __future__ import annotations

from core.errors import ImageError
from core.photos.formats.inspected import Inspected, damaged_error

__all__ = ["MAX_RLE_PIXELS", "inspect"]

MAX_RLE_PIXELS = 2_500_000
"""Limit for run-length encoded images, which Pillow decodes pixel by pixel in Python."""

_RLE = (1, 2)


def inspect(data: bytes) -> Inspected:
    """Find the size of a BMP.

    Raises:
        ImageError: `truncated` if the header is incomplete, `too_many_pixels` if the image is
            run-length encoded and too large, or its data exceeds that of its pixels.
    """
    if len(data) < 26:
        raise damaged_error()
    if int.from_bytes(data[14:18], "little") == 12:
        width, height = (int.from_bytes(data[i : i + 2], "little") for i in (18, 20))
        return Inspected(data, width, height, 1, width * height)
    if len(data) < 34:
        raise damaged_error()
    width, height = (abs(int.from_bytes(data[i : i + 4], "little", signed=True)) for i in (18, 22))
    if int.from_bytes(data[30:34], "little") in _RLE:
        runs = len(data) - int.from_bytes(data[10:14], "little")
        # A pixel needs at most two bytes, and so does the end of a row.
        if width * height > MAX_RLE_PIXELS or runs > 2 * width * height + 2 * height + 1024:
            raise ImageError(
                "too_many_pixels",
                f"The run-length encoded BMP exceeds {MAX_RLE_PIXELS / 1e6:g} million pixels, or "
                "two bytes for each. Save the photo as JPEG or PNG.",
            )
    return Inspected(data, width, height, 1, width * height)
