"""Read the chunks of a PNG file."""

from __future__ import annotations

import re
import zlib

from core.photos.formats.inspected import Inspected, check_parts, damaged_error
from core.photos.orientation import exif_orientation, raw_profile, xmp_orientation

__all__ = ["inspect"]

# Chunks that determine the pixels. Text, color profiles and thumbnails may be of any size,
# compressed or not.
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT"}
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_XMP, _RAW_PROFILE = b"XML:com.adobe.xmp", b"Raw profile type exif"
_match_type = re.compile(rb"[A-Za-z]{4}").fullmatch
_MAX_TEXT_BYTES = 1 << 20


def inspect(data: bytes) -> Inspected:
    """Read the size and orientation of a PNG, and remove its metadata.

    An animation is reduced to its first image.

    Raises:
        ImageError: `truncated` if it does not begin with a header or has another one, `unsupported`
            if there are too many chunks.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise damaged_error()
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    view = memoryview(data)
    kept, orientation, text_orientation = [view[:8]], None, None
    offset, count = 8, 0
    while offset + 12 <= len(data):
        check_parts(count := count + 1)
        kind, end = (
            data[offset + 4 : offset + 8],
            offset + 12 + int.from_bytes(data[offset : offset + 4], "big"),
        )
        if kind == b"IEND" or end > len(data) or not _match_type(kind):
            break
        if kind == b"IHDR" and offset > 8:
            # The decoder would use the size in the last header.
            raise damaged_error()
        if kind in _PIXEL_CHUNKS:
            if end > offset + 12:
                kept.append(view[offset:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(view[offset + 8 : end - 4])
        elif kind in _TEXT_CHUNKS:
            text_orientation = (
                _text_orientation(kind, data[offset + 8 : end - 4]) or text_orientation
            )
        offset = end
    # The decoder handles the rest, including errors.
    kept.append(view[offset:])
    return Inspected(
        b"".join(kept), width, height, orientation or text_orientation or 1, width * height
    )


def _text_orientation(kind: bytes, chunk: bytes) -> int | None:
    """Read the orientation from a text chunk with EXIF or XMP; None for other chunks."""
    keyword, _, rest = chunk.partition(b"\0")
    if keyword not in (_XMP, _RAW_PROFILE):
        return None
    is_compressed = kind == b"zTXt"
    if kind == b"iTXt":
        is_compressed = rest[:1] == b"\1"
        # The flag and the method are followed by two texts: language and translated keyword.
        rest = rest[2:].split(b"\0", 2)[-1]
    elif is_compressed:
        rest = rest[1:]
    try:
        text = zlib.decompressobj().decompress(rest, _MAX_TEXT_BYTES) if is_compressed else rest
    except zlib.error:
        return None
    if keyword == _XMP:
        return xmp_orientation(text)
    return exif_orientation(raw_profile(text[:_MAX_TEXT_BYTES].decode("latin-1")))
