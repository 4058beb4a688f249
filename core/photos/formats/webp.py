"""Read the header of a WebP file."""

from __future__ import annotations

from core.photos.formats.inspected import Inspected

__all__ = ["inspect"]


def inspect(data: bytes) -> Inspected:
    """Read the size of a WebP; its decoder returns the EXIF block without parsing it."""
    kind, body = data[12:16], data[20:30]
    width = height = 0
    if len(body) == 10:
        if kind == b"VP8X":
            width = int.from_bytes(body[4:7], "little") + 1
            height = int.from_bytes(body[7:10], "little") + 1
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width = int.from_bytes(body[6:8], "little") & 0x3FFF
            height = int.from_bytes(body[8:10], "little") & 0x3FFF
    return Inspected(data, width, height, None, width * height)
