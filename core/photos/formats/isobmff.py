"""Read the boxes of HEIF and AVIF files (ISO base media file format, ISO/IEC 14496-12)."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from core.errors import ImageError
from core.photos.formats.inspected import Inspected, check_parts

__all__ = ["MAX_DECODED_PIXELS", "inspect"]

MAX_DECODED_PIXELS = 120_000_000
"""Maximum total of the pixels of all parts of an image: tiles, layers, transparency."""

# Entry of an item: version, flags, item id of 2 or 4 bytes, protection, type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)
# Item types of images that are derived from other items.
_DERIVED = {b"grid", b"iovl", b"iden", b"tmap"}


@dataclass
class _Items:
    """The items of a file.

    Attributes:
        kinds: Type of each item.
        sizes: Width and height of each size property, by index of the property.
        properties: Indexes of the properties of each item.
        parts: Items that an item is derived from, with repetitions.
        extras: Auxiliary items of an item, such as its transparency.
        primary: Id of the primary item.
    """

    kinds: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    properties: dict[int, list[int]] = field(default_factory=dict)
    parts: dict[int, list[int]] = field(default_factory=dict)
    extras: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    primary: int = 0

    def size(self, item: int) -> tuple[int, int]:
        """Return width and height of an item; zeros if unknown."""
        found = (self.sizes[i] for i in self.properties.get(item, []) if i in self.sizes)
        return next(found, (0, 0))


def inspect(data: bytes) -> Inspected:
    """Read the size of an image, and count the pixels of all its parts.

    EXIF items are hidden from Pillow, which would load them completely. The orientation of these
    formats is a property of the image instead.

    Raises:
        ImageError: `too_many_pixels` if the parts together have too many, `unsupported` if there
            are too many parts.
    """
    try:
        items = _read_items(data)
    except (struct.error, IndexError):
        items = _Items()
    width, height = items.size(items.primary)
    counts: dict[int, int] = {}
    pixels = _count_decoded_pixels(items, items.primary, counts, 0)
    pixels += sum(
        _count_decoded_pixels(items, each, counts, 0) for each in items.extras[items.primary]
    )
    if pixels > MAX_DECODED_PIXELS:
        raise ImageError(
            "too_many_pixels",
            f"The parts of the photo have more than {MAX_DECODED_PIXELS // 10**6} million pixels "
            "together. Send it as JPEG.",
        )
    # The length stays the same, since other boxes contain offsets into the file.
    return Inspected(_EXIF_ITEM.sub(rb"\1skip", data), width, height, None, pixels)


def _count_decoded_pixels(items: _Items, item: int, counts: dict[int, int], depth: int) -> int:
    """Count the pixels to decode for an item, with repetitions of its parts."""
    if depth > 16:
        return MAX_DECODED_PIXELS + 1  # probably a cycle
    if item not in counts:
        width, height = items.size(item)
        pixels = width * height
        if items.kinds.get(item) in _DERIVED:
            parts = items.parts.get(item, [])
            each = {
                part: _count_decoded_pixels(items, part, counts, depth + 1) for part in set(parts)
            }
            pixels = max(pixels, sum(each[part] for part in parts))
        counts[item] = pixels
    return counts[item]


def _boxes(data: bytes, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box."""
    count = 0
    while offset + 8 <= end:
        check_parts(count := count + 1)
        length, kind, head = (
            int.from_bytes(data[offset : offset + 4], "big"),
            data[offset + 4 : offset + 8],
            8,
        )
        if length == 1:
            length, head = int.from_bytes(data[offset + 8 : offset + 16], "big"), 16
        stop = min(offset + length, end) if length else end
        if stop < offset + head:
            return
        yield kind, offset + head, stop
        offset = stop


def _read_items(data: bytes) -> _Items:
    items = _Items()
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for inner, offset, stop in _boxes(data, start + 4, end):
            if inner == b"pitm":
                items.primary = _read_int(data, offset + 4, 2 if data[offset] == 0 else 4)
            elif inner == b"iinf":
                _read_kinds(items, data, offset, stop)
            elif inner == b"iref":
                _read_references(items, data, offset, stop)
            elif inner == b"iprp":
                _read_properties(items, data, offset, stop)
    return items


def _read_int(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], "big")


def _read_kinds(items: _Items, data: bytes, offset: int, end: int) -> None:
    for kind, start, _ in _boxes(data, offset + (6 if data[offset] == 0 else 8), end):
        if kind == b"infe":
            size = 2 if data[start] < 3 else 4
            place = start + 4 + size + 2
            items.kinds[_read_int(data, start + 4, size)] = data[place : place + 4]


def _read_references(items: _Items, data: bytes, offset: int, end: int) -> None:
    size = 2 if data[offset] == 0 else 4
    for kind, start, stop in _boxes(data, offset + 4, end):
        source, count = _read_int(data, start, size), _read_int(data, start + size, 2)
        first = start + size + 2
        count = min(count, (stop - first) // size)
        targets = list(struct.unpack_from(f">{count}{'H' if size == 2 else 'I'}", data, first))
        if kind == b"dimg":
            items.parts[source] = targets
        elif kind == b"auxl":
            for target in targets:
                items.extras[target].append(source)


def _read_properties(items: _Items, data: bytes, offset: int, end: int) -> None:
    for kind, start, stop in _boxes(data, offset, end):
        if kind == b"ipco":
            for place, (name, body, _) in enumerate(_boxes(data, start, stop), 1):
                if name == b"ispe":
                    items.sizes[place] = struct.unpack_from(">II", data, body + 4)
        elif kind == b"ipma":
            _read_associations(items, data, start)


def _read_associations(items: _Items, data: bytes, offset: int) -> None:
    id_size, has_long_indexes = (2 if data[offset] == 0 else 4), data[offset + 3] & 1
    count, offset = _read_int(data, offset + 4, 4), offset + 8
    for _ in range(min(count, len(data))):
        item, n = _read_int(data, offset, id_size), data[offset + id_size]
        offset += id_size + 1
        size, mask = (2, 0x7FFF) if has_long_indexes else (1, 0x7F)
        items.properties[item] = [_read_int(data, offset + size * i, size) & mask for i in range(n)]
        offset += size * n
