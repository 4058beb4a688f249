from __future__ import annotations

import importlib
import os
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from core.errors import ImageError, PhotoReadError
from core.photos.decode import MAX_BYTES, Photo, decode
from tests.support import drawings
from tests.support.hostile_photos import encoded
from tests.support.peak_memory import decoded_apart

GRADIENT = drawings.gradient(60, 40)


def code_of(photo: Photo) -> str:
    with pytest.raises(ImageError) as caught:
        decode(photo)
    assert str(caught.value).endswith((".", ".)")), "the message is not a sentence"
    return caught.value.code


def nearly(a: NDArray[np.uint8], b: NDArray[np.uint8], tolerance: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) < tolerance


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """Build a PNG of any claimed size around compressed rows."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, colour, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("AVIF", {"quality": 95}),
        ("MPO", {"quality": 95, "save_all": True}),
    ],
)
def test_accepted_formats_decode_to_the_same_image(kind: str, options: dict[str, Any]) -> None:
    assert nearly(decode(encoded(GRADIENT, kind, **options)), np.asarray(GRADIENT), 6)


def test_bytes_path_and_image_decode_to_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(GRADIENT, "PNG")
    path = tmp_path / "not.a.name"
    path.write_bytes(data)
    for photo in (path, str(path), GRADIENT, Image.open(path)):
        assert np.array_equal(decode(photo), decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    # What a camera held that way would have stored: the inverse of the turn that EXIF asks for.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = GRADIENT.transpose(undo[orientation]) if orientation in undo else GRADIENT
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for kind in ("PNG", "JPEG"):
        assert nearly(decode(encoded(stored, kind, exif=exif)), np.asarray(GRADIENT), 4)
    opened = Image.open(BytesIO(encoded(stored, "PNG", exif=exif)))
    assert np.array_equal(decode(opened), np.asarray(GRADIENT))


def test_malformed_exif_block_is_ignored() -> None:
    data = encoded(GRADIENT, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(data).shape == (40, 60, 3)


def test_animation_decodes_to_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(decode(data), np.asarray(frames[0])), kind


def test_cmyk_jpeg_is_converted_to_rgb() -> None:
    assert nearly(
        decode(encoded(GRADIENT.convert("CMYK"), "JPEG", quality=95)), np.asarray(GRADIENT), 12
    )


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    shades = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode(encoded(Image.fromarray(shades), "PNG"))
    assert np.array_equal(decoded[..., 0], (shades // 257).astype(np.uint8))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_transparency_is_composited_onto_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (decode(encoded(clear, "PNG")) == 255).all()
    assert (decode(encoded(half, "PNG")) == 127).all()
    palette = Image.new("P", (4, 4), 3)
    palette.putpalette([0, 0, 0] * 256)
    assert (decode(encoded(palette, "PNG", transparency=3)) == 255).all()
    assert (decode(encoded(Image.new("LA", (4, 4), (0, 0)), "PNG")) == 255).all()
    grey16 = Image.fromarray(np.full((4, 4), 7, np.uint16))
    assert (decode(encoded(grey16, "PNG", transparency=7)) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "LAB", "I"])
def test_pil_image_of_any_mode_is_converted(mode: str) -> None:
    image = GRADIENT.convert("L").convert("I") if mode == "I" else GRADIENT
    if mode == "LAB":
        image = Image.merge("LAB", GRADIENT.split())
    elif mode != "I":
        image = GRADIENT.convert(mode)
    before = image.tobytes()
    assert decode(image).shape == (40, 60, 3)
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["F", "La", "RGBa"])
def test_pil_image_of_an_ambiguous_mode_is_rejected(mode: str) -> None:
    assert code_of(Image.new(mode, (4, 4))) == "unsupported"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_an_image"),
        (b"a letter to my aunt", "not_an_image"),
        (b"BMW is a make of cars, and this a sentence about it", "not_an_image"),
        (b"PK\x03\x04" + bytes(100), "not_an_image"),
        (b"<!doctype html><html><body><svg></svg></body></html>", "not_an_image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported"),
        (b"II*\x00" + bytes(100), "unsupported"),
        (b"%PDF-1.7" + bytes(100), "unsupported"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42", "unsupported"),
        (bytes(MAX_BYTES + 1), "too_large"),
    ],
)
def test_other_content_is_rejected_with_its_code(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_text_file_named_jpg_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_text("not a photo at all")
    assert code_of(path) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_truncated_file_is_rejected(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert code_of(data[: len(data) // 2]) == "truncated"
    assert code_of(data[:30]) == "truncated"


def test_excessive_size_is_rejected_before_decoding() -> None:
    assert code_of(png(65_000, 1, 8, 0, b"\0" * 65_001)) == "too_many_pixels"
    assert code_of(png(12_001, 4_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(8_000, 8_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(9_000, 100, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(100, 9_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(60_000, 60_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(Image.new("1", (13_000, 13_000))) == "too_many_pixels"
    assert code_of(png(0, 4, 8, 0, b"\0")) in {"truncated", "too_many_pixels"}


def test_huge_png_is_rejected_with_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(13_000, 13_000, 1, 0, bytes(13_000 * (1 + 13_000 // 8))))
    outcome, megabytes = decoded_apart(path)
    assert outcome == "too_many_pixels"
    assert megabytes < 60


@pytest.mark.parametrize(("bits", "colour", "bytes_a_pixel"), [(16, 0, 2), (8, 6, 4)])
def test_largest_photos_take_little_more_memory_than_their_pixels(
    bits: int, colour: int, bytes_a_pixel: int, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(7_000, 7_000, bits, colour, bytes(7_000 * (1 + 7_000 * bytes_a_pixel))))
    outcome, megabytes = decoded_apart(path)
    assert outcome == "7000"
    pixels = 49e6 * (bytes_a_pixel + 3) / 2**20
    assert 0.9 * pixels < megabytes < 1.4 * pixels


def test_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
    with pytest.raises(ImageError, match="needs the extra 'heif'") as caught:
        decode(heic)
    assert caught.value.code == "unsupported"


def test_heic_with_the_extra_is_decoded() -> None:
    pillow_heif = importlib.import_module("pillow_heif")
    buffer = BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pillow_heif.from_pillow(GRADIENT).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    expected = Image.open(BytesIO(encoded(GRADIENT, "PNG", exif=exif)))
    assert nearly(decode(data), decode(expected), 8)
    assert code_of(data[: len(data) // 2]) == "truncated"


def test_large_jpeg_is_decoded_at_reduced_scale() -> None:
    data = encoded(drawings.gradient(1600, 1200), "JPEG")
    assert decode(data).shape == (1200, 1600, 3)
    assert decode(data, min_side=64).shape == (150, 200, 3)
    assert decode(data, min_side=512).shape == (600, 800, 3)
    assert decode(encoded(GRADIENT, "JPEG"), min_side=64).shape == (40, 60, 3)


def test_unreadable_path_raises_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(PhotoReadError, match="no file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(PhotoReadError, match="folder"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoReadError, match="cannot be read: it is not a regular file"):
        decode(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoReadError, match="cannot be read"):
        decode("nul\0byte")
