"""Read the orientation of a photo from its EXIF block or XMP packet without loading either.

Pillow's `getexif` copies the value of every tag: a block of 1 MB whose 60,000 tags all point at the
same 200 kB takes 12 GB. This module reads only the entries of the first directory.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

__all__ = ["exif_orientation", "raw_profile", "stored_orientation", "xmp_orientation"]

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
# The orientation is near the beginning of an XMP packet, which may have several megabytes.
_MAX_XMP_BYTES = 1 << 20


def exif_orientation(block: bytes | bytearray | memoryview) -> int | None:
    """Read the orientation from an EXIF block.

    Args:
        block: TIFF structure, with or without its prefix of six bytes.

    Returns:
        1 to 8; None if the block has none or is malformed.
    """
    view = memoryview(block)
    if bytes(view[:6]) == b"Exif\0\0":
        view = view[6:]
    orders: dict[bytes, Literal["<", ">"]] = {b"II": "<", b"MM": ">"}
    order = orders.get(bytes(view[:2]))
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", view, 4)
        (count,) = struct.unpack_from(f"{order}H", view, start)
    except struct.error:
        return None
    count = min(count, (len(view) - start - 2) // 12)
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", "u4"), ("value", "V4")])
    entries = np.frombuffer(view, entry.newbyteorder(order), count, start + 2)
    found = None
    for each in entries[entries["tag"] == _ORIENTATION_TAG]:
        kind, length, raw = int(each["type"]), int(each["count"]), each["value"].tobytes()
        if length == 1 and kind in (_SHORT, _LONG):
            # The last one wins, as in a dictionary of tags.
            (found,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), raw)
    return found if found is not None and 1 <= found <= 8 else None


def xmp_orientation(packet: bytes) -> int | None:
    """Read the orientation from an XMP packet: 1 to 8, or None if it has none."""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', packet[:_MAX_XMP_BYTES])
    return int(found[1]) if found else None


def raw_profile(text: str) -> bytes:
    """Decode the EXIF block that ImageMagick writes as a PNG text chunk: hexadecimal lines.

    Returns:
        The block; empty if the text is malformed.
    """
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def stored_orientation(info: Mapping[Any, Any]) -> int | None:
    """Read the orientation from the metadata of a PIL image.

    Args:
        info: Attribute `info` of the image.

    Returns:
        1 to 8; None if the metadata has none.
    """
    block = info.get("exif")
    if block is None and isinstance(text := info.get("Raw profile type exif"), str):
        block = raw_profile(text)
    found = exif_orientation(block) if isinstance(block, bytes) else None
    if found is not None:
        return found
    packet = info.get("XML:com.adobe.xmp") or info.get("xmp")
    if isinstance(packet, str):
        packet = packet.encode(errors="replace")
    return xmp_orientation(packet) if isinstance(packet, bytes) else None
