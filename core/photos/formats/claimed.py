"""Number of pixels that a file claims to have, read from its beginning."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import ImageError
from core.photos.formats import bmp, gif, isobmff, jpeg, png, webp
from core.photos.formats.inspected import MAX_PIXELS, Inspected
from core.photos.formats.kind import kind_of

__all__ = ["BEGINNING", "INSPECTORS", "claimed_pixels", "is_plain"]

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

BEGINNING = 256 * 1024
"""Number of bytes that `claimed_pixels` reads."""
# All except HEIF and AVIF, which use video codecs.
_PLAIN = {"JPEG", "PNG", "WEBP", "GIF", "BMP"}


def claimed_pixels(data: bytes) -> int:
    """Return the number of pixels of a file, or the maximum if its beginning does not tell.

    Only the beginning is read, so the duration is bounded for any file.
    """
    try:
        kind = kind_of(data)
    except ImageError:
        return 0  # it will be rejected
    try:
        found = INSPECTORS[kind](data[:BEGINNING]).pixels
    except (ImageError, ValueError, LookupError, ArithmeticError):
        return MAX_PIXELS
    return min(found, MAX_PIXELS) if found else MAX_PIXELS


def is_plain(data: bytes) -> bool:
    """Return whether a file needs no video codec; also true for unsupported formats."""
    try:
        return kind_of(data) in _PLAIN
    except ImageError:
        return True
