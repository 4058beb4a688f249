"""Small files that are expensive to decode."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.errors import ImageError
from core.photos.decode import inspect
from core.photos.formats.kind import kind_of

__all__ = [
    "bmp_of_32_bits",
    "encoded",
    "exif_block",
    "gif",
    "heif_of_parts",
    "jpeg_of_many_scans",
    "png",
    "png_chunk",
    "refusal",
    "run_length_bmp",
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


def jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """Build a grey progressive JPEG whose scans but the first hold nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    def table(of: int, symbol: int) -> bytes:
        return segment(0xC4, bytes([of << 4, 1]) + bytes(15) + bytes([symbol]))

    def bits(text: str) -> bytes:
        text += "1" * (-len(text) % 8)
        packed = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        return packed.replace(b"\xff", b"\xff\0")

    left = blocks = ((side + 7) // 8) ** 2
    runs = ""
    while left >= 16_384:  # a run of empty blocks has at most 32,767
        run = min(left, 32_767)
        runs, left = runs + "0" + format(run - 16_384, "014b"), left - run
    head = segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bits("0" * blocks)
    empty = segment(0xDA, b"\1\1\0\1\x3f\0") + bits(runs)
    return b"\xff\xd8" + head + table(0, 0) + table(1, 0xE0) + first + empty * scans + b"\xff\xd9"


def gif(*, before: bytes) -> bytes:
    """Build a GIF with other blocks before its picture."""
    data = encoded(Image.new("P", (16, 16)), "GIF")
    at = data.index(b",", 13)
    return data[:at] + before + data[at:]


def run_length_bmp(side: int, runs: bytes) -> bytes:
    """Build a grey run-length encoded BMP."""
    palette = b"".join(bytes((i, i, i, 0)) for i in range(256))
    start = 14 + 40 + len(palette)
    file = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    size = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return file + size + palette + runs


def bmp_of_32_bits(rgba: NDArray[np.uint8]) -> bytes:
    """Build a BMP with masks for its four channels, as image editors write it."""
    height, width = rgba.shape[:2]
    start, pixels = 14 + 124, rgba[::-1, :, [2, 1, 0, 3]].tobytes()
    file = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    size = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return file + size + masks + bytes(124 - 56) + pixels


def heif_of_parts(
    kind: bytes, count: int, *, side: int, coded: Image.Image, references: int = 1
) -> bytes:
    """Build a HEIC that is put together from one coded picture, taken several times.

    Args:
        kind: `grid` or `iovl` (overlay).
        count: How often the picture is taken; for a grid, rows and columns of it.
        side: Pixels of a side of the whole.
        coded: The picture.
        references: 2: the parts are such pictures themselves.
    """
    buffer = BytesIO()
    pillow_heif.from_pillow(coded).save(buffer, quality=20)
    whole = buffer.getvalue()
    configuration = _box_content(whole, [b"meta", b"iprp", b"ipco", b"hvcC"])
    picture = _box_content(whole, [b"mdat"])
    if kind == b"grid":
        rule = struct.pack(">BBBBII", 0, 1, count - 1, count - 1, side, side)
        parts = count * count
    else:
        rule = struct.pack(">BB4HII", 0, 1, 0, 0, 0, 65_535, side, side) + bytes(8 * count)
        parts = count
    derived = range(2, 2 + references)

    def meta(at: int) -> bytes:
        places = struct.pack(">HHHHII", 1, 0, 0, 1, at, len(picture))
        for item in derived:
            places += struct.pack(">HHHHII", item, 1, 0, 1, 0, len(rule))
        names = _item(1, b"hvc1") + b"".join(_item(item, kind) for item in derived)
        taken = b"".join(
            _box(
                b"dimg",
                struct.pack(">HH", item, parts) + struct.pack(">H", item - 1) * parts,
            )
            for item in derived
        )
        sizes = _full(b"ispe", struct.pack(">II", *coded.size)) + _full(
            b"ispe", struct.pack(">II", side, side)
        )
        depth = _full(b"pixi", b"\3\x08\x08\x08")
        owned = struct.pack(">I", 1 + references) + struct.pack(">HB", 1, 3) + b"\x81\x82\x84"
        owned += b"".join(struct.pack(">HB", item, 2) + b"\x83\x84" for item in derived)
        properties = _box(b"ipco", _box(b"hvcC", configuration) + sizes + depth)
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + _full(b"pitm", struct.pack(">H", derived[-1]))
            + _full(b"iloc", b"\x44\0" + struct.pack(">H", 1 + references) + places, version=1)
            + _full(b"iinf", struct.pack(">H", 1 + references) + names)
            + _full(b"iref", taken)
            + _box(b"iprp", properties + _full(b"ipma", owned))
            + _box(b"idat", rule),
        )

    brand = _box(b"ftyp", b"heic\0\0\0\0mif1heic")
    return brand + meta(len(brand) + len(meta(0)) + 8) + _box(b"mdat", picture)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, body: bytes, *, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + body)


def _item(item: int, kind: bytes) -> bytes:
    return _full(b"infe", struct.pack(">HH4s", item, 0, kind) + b"\0", version=2)


def _box_content(data: bytes, path: list[bytes]) -> bytes:
    """Return the content of a box inside others."""
    for kind in path:
        at = 0
        while data[at + 4 : at + 8] != kind:
            at += int.from_bytes(data[at : at + 4], "big")
        head = 12 if kind == b"meta" else 8
        data = data[at + head : at + int.from_bytes(data[at : at + 4], "big")]
    return data


def refusal(data: bytes) -> tuple[str, str]:
    """Return code and message of the error that inspecting a file raises."""
    with pytest.raises(ImageError) as caught:
        inspect(data, kind_of(data))
    return caught.value.code, str(caught.value)
