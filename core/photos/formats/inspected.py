"""What the structure of a photo's file tells before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ImageError

__all__ = ["MAX_PARTS", "MAX_PIXELS", "Inspected", "check_parts", "damaged_error"]

MAX_PIXELS = 50_000_000
"""Of a photo, at most."""
MAX_PARTS = 50_000
"""Segments, chunks or blocks of a file, at most: each costs a decoder time, however empty."""


@dataclass(frozen=True)
class Inspected:
    """What was found in a file.

    Attributes:
        data: The file as it is handed to the decoder: without metadata where that can be left out,
            since decoders spend memory and time on metadata that no pixel needs.
        width, height: Pixels that the file claims, before it is turned; 0 where only the decoder
            can tell.
        orientation: EXIF orientation, 1 to 8; None where the decoder hands over the EXIF block.
        pixels: Pixels that are decoded to make the image; more than width × height where it is
            put together from overlapping parts. 0 where only the decoder can tell.
    """

    data: bytes
    width: int = 0
    height: int = 0
    orientation: int | None = None
    pixels: int = 0


def check_parts(count: int) -> None:
    """Refuse a file of too many parts.

    Raises:
        ImageError: `unsupported`.
    """
    if count > MAX_PARTS:
        raise ImageError(
            "unsupported",
            f"The file consists of more than {MAX_PARTS:,} parts, as no camera writes it. Save the "
            "photo anew as JPEG or PNG.",
        )


def damaged_error() -> ImageError:
    """Return the error for a file that ends too early or contradicts itself."""
    return ImageError(
        "truncated", "The photo is damaged or was cut off on its way. Send it once more."
    )
