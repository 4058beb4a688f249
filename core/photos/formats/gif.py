"""Read the blocks of a GIF file before its first image."""

from __future__ import annotations

from core.photos.formats.inspected import Inspected, check_parts, damaged_error

__all__ = ["inspect"]

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL = 0xF9


def inspect(data: bytes) -> Inspected:
    """Read the size of a GIF, and remove comments and application extensions.

    Raises:
        ImageError: `truncated` if there is no image, `unsupported` if there are too many blocks.
    """
    if len(data) < 13:
        raise damaged_error()
    view, flags = memoryview(data), data[10]
    offset = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept, parts = [view[:offset]], 0
    while offset < len(data) and data[offset] != _TRAILER:
        check_parts(parts := parts + 1)
        if data[offset] == _IMAGE:
            kept.append(view[offset:])
            # A first image that is larger than the logical screen enlarges it.
            left, top, width, height, screen_width, screen_height = (
                int.from_bytes(data[i : i + 2], "little")
                for i in (offset + 1, offset + 3, offset + 5, offset + 7, 6, 8)
            )
            width, height = max(screen_width, left + width), max(screen_height, top + height)
            return Inspected(b"".join(kept), width, height, 1, width * height)
        start = offset
        offset += 1
        if data[start] == _EXTENSION:
            offset += 1
            while offset < len(data) and data[offset]:
                check_parts(parts := parts + 1)
                offset += 1 + data[offset]
            offset += 1
            if data[start + 1 : start + 2] == bytes([_GRAPHIC_CONTROL]):
                kept.append(view[start:offset])
    raise damaged_error()
