"""How many pixels a file claims to have, by its beginning."""

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
"""What reads the structure of each format."""

BEGINNING = 256 * 1024
"""Bytes of a file that are read for it."""
# HEIF and AVIF are pictures of video codecs.
_PLAIN = {"JPEG", "PNG", "WEBP", "GIF", "BMP"}


def claimed_pixels(data: bytes) -> int:
    """Return the pixels that a file claims to have, or the most where its beginning tells none.

    Only the beginning is read, so it takes little time whatever the file is.
    """
    try:
        kind = kind_of(data)
    except ImageError:
        return 0  # refused at once
    try:
        found = INSPECTORS[kind](data[:BEGINNING]).pixels
    except (ImageError, ValueError, LookupError, ArithmeticError):
        return MAX_PIXELS
    return min(found, MAX_PIXELS) if found else MAX_PIXELS


def is_plain(data: bytes) -> bool:
    """Return whether a file is of a format that is no video codec, or of none that is read."""
    try:
        return kind_of(data) in _PLAIN
    except ImageError:
        return True
