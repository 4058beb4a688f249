"""Result of inspecting the structure of a photo's file, before decoding any pixels."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ImageError

__all__ = ["MAX_PARTS", "MAX_PIXELS", "Inspected", "check_parts", "damaged_error"]

MAX_PIXELS = 50_000_000
"""Maximum number of pixels of a photo."""
MAX_PARTS = 50_000
"""Maximum number of segments, chunks or blocks of a file; even empty ones cost time."""


@dataclass(frozen=True)
class Inspected:
    """Properties of a file.

    Attributes:
        data: The file for the decoder, without metadata where possible, since decoders spend memory
            and time on metadata.
        width, height: Size in pixels according to the file, before rotation; 0 if unknown.
        orientation: EXIF orientation, 1 to 8; None if the decoder returns the EXIF block.
        pixels: Number of pixels to decode, more than width × height for an image of overlapping
            parts; 0 if unknown.
    """

    data: bytes
    width: int = 0
    height: int = 0
    orientation: int | None = None
    pixels: int = 0


def check_parts(count: int) -> None:
    """Check the number of a file's parts.

    Raises:
        ImageError: `unsupported`.
    """
    if count > MAX_PARTS:
        raise ImageError(
            "unsupported",
            f"The file consists of more than {MAX_PARTS:,} parts, which no camera writes. Save the "
            "photo again as JPEG or PNG.",
        )


def damaged_error() -> ImageError:
    """Return the error for a file that is incomplete or inconsistent."""
    return ImageError("truncated", "The photo is damaged or incomplete. Send it again.")
