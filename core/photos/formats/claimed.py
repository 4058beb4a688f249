"""Number of pixels that a file claims to have, read from its beginning."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import ImageError
from core.photos.formats import bmp, gif, isobmff, jpeg, png, webp
from core.photos.formats.inspected import MAX_PIXELS, Inspected
from core.photos.formats.kind import kind_of

__all__ = ["INSPECTORS", "PREFIX_BYTES", "claimed_pixels", "is_plain"]

INSPECTORS: dict[str, Callable[[bytes], Inspected]] = {
    "JPEG": jpeg.inspect,
    "PNG": png.inspect,
    "WEBP": webp.inspect,
    "GIF": gif.inspect,
    "BMP": bmp.inspect,
    "AVIF": isobmff.inspect,
    "HEIF": isobmff.inspect,
}
"""Function that reads the structure of a file, by format."""

PREFIX_BYTES = 256 * 1024
"""Number of bytes from which `claimed_pixels` reads the size."""
# All except HEIF and AVIF, which use video codecs.
_WITHOUT_VIDEO_CODEC = {"JPEG", "PNG", "WEBP", "GIF", "BMP"}


def claimed_pixels(data: bytes) -> int:
    """Return the number of pixels of a file, or the maximum if its beginning does not tell.

    Only the beginning is read, so the duration is bounded for any file.
    """
    try:
        kind = kind_of(data)
    except ImageError:
        return 0  # it will be rejected
    try:
        pixels = INSPECTORS[kind](data[:PREFIX_BYTES]).pixels
    except (ImageError, ValueError, LookupError, ArithmeticError):
        return MAX_PIXELS
    return min(pixels, MAX_PIXELS) if pixels else MAX_PIXELS


def is_plain(data: bytes) -> bool:
    """Return whether a file needs no video codec; also true for unsupported formats."""
    try:
        return kind_of(data) in _WITHOUT_VIDEO_CODEC
    except ImageError:
        return True
