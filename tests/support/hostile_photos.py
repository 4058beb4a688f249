"""Small files that cost a decoder far more than they weigh."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

__all__ = [
    "encoded",
    "exif_block",
    "png",
    "png_chunk",
    "with_exif",
]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image as Pillow writes it."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    """Build a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, side: int = 16) -> bytes:
    """Build a grey PNG with other chunks before its pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side + 1) * side))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *chunks,
            png_chunk(b"IDAT", rows),
            png_chunk(b"IEND"),
        ]
    )


def exif_block(tags: int, size: int, *, orientation: int | None = None) -> bytes:
    """Build an EXIF block whose tags all point at the same bytes.

    Args:
        tags: How many.
        size: Bytes that each of them claims as its value.
        orientation: Value of a tag more, behind the others.
    """
    entries = np.zeros(tags, [("tag", "<u2"), ("type", "<u2"), ("count", "<u4"), ("at", "<u4")])
    count = tags + (orientation is not None)
    entries["tag"] = 1000 + np.arange(tags) % 60_000
    entries["type"], entries["count"], entries["at"] = 1, size, 8 + 2 + 12 * count + 4
    last = b"" if orientation is None else struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    directory = struct.pack("<H", count) + entries.tobytes() + last + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(size)


def with_exif(image: Image.Image, kind: str, block: bytes) -> bytes:
    """Encode an image with an EXIF block of any size."""
    if kind == "PNG":
        data = encoded(image, "PNG")
        at = data.index(b"IDAT") - 4
        return data[:at] + png_chunk(b"eXIf", block) + data[at:]
    if kind == "JPEG":
        data = encoded(image, "JPEG", quality=95)
        segments = []
        # No segment holds more than 64 kB; readers join those that follow one another.
        for start in range(0, len(block), 65_000):
            part = b"Exif\0\0" + block[start : start + 65_000]
            segments.append(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part)
        return data[:2] + b"".join(segments) + data[2:]
    return encoded(image, kind, exif=b"Exif\0\0" + block, quality=95)
