"""Read the segments of a JPEG file before its first scan."""

from __future__ import annotations

import re
from collections.abc import Iterator

from core.errors import ImageError
from core.photos.formats.inspected import Inspected, check_parts, damaged_error
from core.photos.orientation import exif_orientation, xmp_orientation

__all__ = ["END", "FILLER", "MAX_SCANS", "has_end", "inspect"]

MAX_SCANS = 100
"""Maximum number of scans, each of which costs a pass over the image; encoders write about ten."""
END = b"\xff\xd9"
_NOISE = bytes.fromhex("5a93c6396ca50f78") * 8
FILLER = _NOISE + b"".join(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))
"""Bytes that do not decode to plain gray in an incomplete scan, also after a restart marker."""

_SOI = b"\xff\xd8"
_SOS, _EOI = 0xDA, 0xD9
_APP1 = 0xE1
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# All but APP0 (JFIF) and APP14 (Adobe), which describe the color space.
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Within a scan, 0xFF is followed by 0 or belongs to a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def inspect(data: bytes) -> Inspected:
    """Read the size and orientation of a JPEG, and remove its metadata.

    Raises:
        ImageError: `truncated` if there is no image, `unsupported` if there are too many segments
            or scans.
    """
    view = memoryview(data)
    kept, exif = [view[: len(_SOI)]], bytearray()
    xmp, width, height, components, progressive = b"", 0, 0, 0, False
    offset = len(_SOI)
    for count in range(1 << 62):
        check_parts(count)
        offset = data.find(b"\xff", offset)
        while offset >= 0 and data[offset + 1 : offset + 2] == b"\xff":
            offset += 1
        if offset < 0 or offset + 4 > len(data) or data[offset + 1] == _EOI:
            raise damaged_error()
        marker = data[offset + 1]
        if marker == 0 or marker in _STANDALONE:
            offset += 2
            continue
        if marker == _SOS:
            break
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
        body = data[offset + 4 : end]
        if marker in _SOF and len(body) >= 6:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            components, progressive = body[5], marker in _PROGRESSIVE
        if marker == _APP1 and body.startswith(b"Exif\0\0"):
            # A block may span several segments.
            exif += body[6:]
        elif marker == _APP1 and body.startswith(_XMP):
            xmp = body[len(_XMP) :]
        if marker not in _METADATA:
            kept.append(view[offset:end])
        offset = max(end, offset + 4)
    if progressive or data[offset + 4 : offset + 5] != bytes([components]):
        _check_scans(data, offset)
    # A trailing 0xFF would form a marker with whatever is appended.
    kept.append(
        view[offset : len(data.rstrip(b"\xff"))] if data.endswith(b"\xff") else view[offset:]
    )
    orientation = exif_orientation(exif) or xmp_orientation(xmp) or 1
    return Inspected(b"".join(kept), width, height, orientation, width * height)


def has_end(data: bytes) -> bool:
    """Return whether a JPEG has its end marker, which other data may follow.

    A thumbnail in the metadata has an end marker, too, which is not that of the photo.

    Raises:
        ImageError: `unsupported` if there are too many segments.
    """
    if data.endswith(END):
        return True
    return END in data and _EOI in _markers(data, len(_SOI))


def _check_scans(data: bytes, offset: int) -> None:
    """Check the number of scans; `offset` is that of the first."""
    if data.count(b"\xff\xda", offset) <= MAX_SCANS:
        return
    # Not all of them need be scans: they may be in comments or in data after the image.
    scans = 0
    for marker in _markers(data, offset):
        scans += marker == _SOS
        if scans > MAX_SCANS:
            raise ImageError(
                "unsupported",
                f"The JPEG consists of more than {MAX_SCANS} scans, which no camera writes. Save "
                "the photo again.",
            )


def _markers(data: bytes, offset: int) -> Iterator[int]:
    """Yield each marker up to the end marker, without those in what segments contain.

    Raises:
        ImageError: `unsupported` if there are too many segments.
    """
    count = 0
    while match := _NEXT_MARKER.search(data, offset):
        offset, marker = match.start(), match[0][1]
        yield marker
        if marker == _EOI:
            return
        count += 1
        check_parts(count)
        offset += 2
        if marker not in _STANDALONE:
            offset += max(2, int.from_bytes(data[offset : offset + 2], "big"))
