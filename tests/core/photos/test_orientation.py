from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from core.photos.decode import decode
from core.photos.orientation import exif_orientation, stored_orientation, xmp_orientation
from tests.support import drawings
from tests.support.hostile_photos import encoded, exif_block, png_chunk, with_exif
from tests.support.peak_memory import decoded_apart

GRADIENT = drawings.gradient(60, 40)
XMP = b'<rdf:Description tiff:Orientation="6"/>'


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_exif_tags_that_share_their_bytes_are_not_copied(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(with_exif(GRADIENT, kind, exif_block(4_000, 200_000)))
    outcome, megabytes = decoded_apart(path)
    assert outcome == "40"
    assert megabytes < 60, "4,000 copies would take 800 MB"


def test_heic_exif_tags_that_share_their_bytes_are_not_copied(tmp_path: Path) -> None:
    path, buffer = tmp_path / "photo", BytesIO()
    block = b"Exif\0\0" + exif_block(4_000, 200_000)
    pillow_heif.from_pillow(GRADIENT).save(buffer, exif=block)
    path.write_bytes(buffer.getvalue())
    outcome, megabytes = decoded_apart(path)
    assert outcome == "40"
    assert megabytes < 60


def test_exif_in_a_text_chunk_is_not_copied(tmp_path: Path) -> None:
    block = exif_block(4_000, 200_000).hex().encode()
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n       1\n" + block)
    data, path = encoded(GRADIENT, "PNG"), tmp_path / "photo"
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + png_chunk(b"zTXt", text) + data[at:])
    outcome, megabytes = decoded_apart(path)
    assert outcome == "40"
    assert megabytes < 60


def test_mpo_index_of_a_jpeg_is_not_loaded(tmp_path: Path) -> None:
    """Pillow reads the index of an MPO file as it reads EXIF."""
    segment = b"MPF\0" + exif_block(4_000, 10_000)
    data, path = encoded(GRADIENT, "JPEG"), tmp_path / "photo"
    head = b"\xff\xe2" + (len(segment) + 2).to_bytes(2, "big")
    path.write_bytes(data[:2] + head + segment + data[2:])
    outcome, megabytes = decoded_apart(path)
    assert outcome == "40"
    assert megabytes < 30, "4,000 copies would take 40 MB"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_orientation_is_found_behind_many_tags(kind: str) -> None:
    data = with_exif(GRADIENT, kind, exif_block(4_000, 100, orientation=6))
    assert decode(data).shape == (60, 40, 3)


def test_orientation_of_avif_is_that_of_its_image() -> None:
    """The container states the orientation, as Pillow writes it; EXIF only repeats it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(GRADIENT, "AVIF", exif=exif)
    assert decode(data).shape == (60, 40, 3)
    assert decode(data.replace(b"Exif\0\0", b"XxxX\0\0")).shape == (60, 40, 3)


def test_orientation_of_png_is_read_from_text_chunks() -> None:
    block = exif_block(0, 0, orientation=6).hex().encode()
    profile = b"\nexif\n      26\n" + block[:72] + b"\n" + block[72:]
    chunks = {
        b"tEXt": b"Raw profile type exif\0" + profile,
        b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(profile),
        b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + XMP,
    }
    data = encoded(GRADIENT, "PNG")
    at = data.index(b"IDAT") - 4
    for kind, body in chunks.items():
        assert decode(data[:at] + png_chunk(kind, body) + data[at:]).shape == (60, 40, 3), kind
    packed = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)
    assert decode(data[:at] + png_chunk(b"iTXt", packed) + data[at:]).shape == (60, 40, 3)
    spoiled = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)[:-12]
    assert decode(data[:at] + png_chunk(b"iTXt", spoiled) + data[at:]).shape[2] == 3


def test_orientation_of_jpeg_is_read_from_xmp_where_exif_has_none() -> None:
    data = encoded(GRADIENT, "JPEG", xmp=XMP)
    assert decode(data).shape == (60, 40, 3)
    exif = Image.Exif()
    exif[0x0112] = 3
    both = encoded(GRADIENT, "JPEG", xmp=XMP, exif=exif)
    assert decode(both).shape == (40, 60, 3), "EXIF takes precedence over XMP"


def test_metadata_does_not_change_pixels() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
        plain = decode(encoded(GRADIENT, kind, quality=90))
        described = encoded(GRADIENT, kind, quality=90, exif=exif, icc_profile=bytes(5_000))
        assert np.array_equal(decode(described), plain), kind
    cmyk = encoded(GRADIENT.convert("CMYK"), "JPEG", comment=b"A comment")
    assert decode(cmyk).shape == (40, 60, 3)


def test_exif_of_an_opened_image_is_not_loaded() -> None:
    image = Image.open(BytesIO(with_exif(GRADIENT, "PNG", exif_block(50, 100, orientation=6))))
    image.load()
    assert decode(image).shape == (60, 40, 3)
    set_since = GRADIENT.copy()
    set_since.getexif()[0x0112] = 6
    assert decode(set_since).shape == (60, 40, 3)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"XX*\0" + bytes(20),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(11),
        exif_block(3, 4),
        exif_block(0, 0, orientation=9),
        exif_block(0, 0, orientation=0),
    ],
)
def test_broken_exif_has_no_orientation(block: bytes) -> None:
    assert exif_orientation(block) is None
    assert exif_orientation(b"Exif\0\0" + block) is None


def test_exif_is_read_in_both_byte_orders() -> None:
    little = exif_block(2, 4, orientation=8)
    assert exif_orientation(little) == 8
    exif = Image.Exif()
    exif.endian = ">"
    exif[0x0112] = 5
    assert exif_orientation(exif.tobytes()) == 5
    as_long = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06" + bytes(4)
    assert exif_orientation(as_long) == 6


def test_xmp_orientation_is_read() -> None:
    assert xmp_orientation(XMP) == 6
    assert xmp_orientation(b"<tiff:Orientation>3</tiff:Orientation>") == 3
    assert xmp_orientation(b"<tiff:Orientation>9</tiff:Orientation>") is None
    assert stored_orientation({"xmp": XMP}) == 6
    assert stored_orientation({"Raw profile type exif": "\nexif\n1\nno hex"}) is None
    assert stored_orientation({}) is None
