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
from core.photos.preprocess import InputSpec, crops, normalise, resize
from tests import drawings
from tests.support.hostile_photos import encoded
from tests.support.peak_memory import decoded_apart

GRADIENT = drawings.gradient(60, 40)


def code_of(photo: Photo) -> str:
    with pytest.raises(ImageError) as caught:
        decode(photo)
    assert str(caught.value).endswith((".", ".)")), "a sentence that says what to do"
    return caught.value.code


def nearly(a: NDArray[np.uint8], b: NDArray[np.uint8], tolerance: float) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b.astype(int)).mean()) < tolerance


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG of any claimed size around compressed rows."""

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
def test_accepted_formats_give_the_same_picture(kind: str, options: dict[str, Any]) -> None:
    assert nearly(decode(encoded(GRADIENT, kind, **options)), np.asarray(GRADIENT), 6)


def test_bytes_path_and_image_give_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(GRADIENT, "PNG")
    path = tmp_path / "not.a.name"
    path.write_bytes(data)
    for photo in (path, str(path), GRADIENT, Image.open(path)):
        assert np.array_equal(decode(photo), decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
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


def test_a_broken_exif_block_does_not_lose_the_photo() -> None:
    data = encoded(GRADIENT, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode(data).shape == (40, 60, 3)


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.array_equal(decode(data), np.asarray(frames[0])), kind


def test_cmyk_jpeg() -> None:
    assert nearly(
        decode(encoded(GRADIENT.convert("CMYK"), "JPEG", quality=95)), np.asarray(GRADIENT), 12
    )


def test_grey_of_16_bits_is_scaled_not_clipped() -> None:
    shades = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    decoded = decode(encoded(Image.fromarray(shades), "PNG"))
    assert np.array_equal(decoded[..., 0], (shades // 257).astype(np.uint8))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_transparency_lies_on_white() -> None:
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
def test_pil_images_of_any_mode(mode: str) -> None:
    image = GRADIENT.convert("L").convert("I") if mode == "I" else GRADIENT
    if mode == "LAB":
        image = Image.merge("LAB", GRADIENT.split())
    elif mode != "I":
        image = GRADIENT.convert(mode)
    before = image.tobytes()
    assert decode(image).shape == (40, 60, 3)
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["F", "La", "RGBa"])
def test_images_of_modes_without_a_meaning_are_refused(mode: str) -> None:
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
def test_what_is_no_photo_has_its_code(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_text_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_text("not a photo at all")
    assert code_of(path) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_truncated(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert code_of(data[: len(data) // 2]) == "truncated"
    assert code_of(data[:30]) == "truncated"


def test_sizes_are_refused_before_decoding() -> None:
    assert code_of(png(65_000, 1, 8, 0, b"\0" * 65_001)) == "too_many_pixels"
    assert code_of(png(12_001, 4_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(8_000, 8_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(9_000, 100, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(100, 9_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(png(60_000, 60_000, 1, 0, b"\0")) == "too_many_pixels"
    assert code_of(Image.new("1", (13_000, 13_000))) == "too_many_pixels"
    assert code_of(png(0, 4, 8, 0, b"\0")) in {"truncated", "too_many_pixels"}


def test_a_huge_png_costs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(13_000, 13_000, 1, 0, bytes(13_000 * (1 + 13_000 // 8))))
    outcome, megabytes = decoded_apart(path)
    assert outcome == "too_many_pixels"
    assert megabytes < 60


@pytest.mark.parametrize(("bits", "colour", "bytes_a_pixel"), [(16, 0, 2), (8, 6, 4)])
def test_the_largest_photos_cost_little_more_than_their_pixels(
    bits: int, colour: int, bytes_a_pixel: int, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(7_000, 7_000, bits, colour, bytes(7_000 * (1 + 7_000 * bytes_a_pixel))))
    outcome, megabytes = decoded_apart(path)
    assert outcome == "7000"
    pixels = 49e6 * (bytes_a_pixel + 3) / 2**20
    assert 0.9 * pixels < megabytes < 1.4 * pixels


def test_heic_without_the_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
    with pytest.raises(ImageError, match="needs the extra 'heif'") as caught:
        decode(heic)
    assert caught.value.code == "unsupported"


def test_heic_with_the_extra() -> None:
    pillow_heif = importlib.import_module("pillow_heif")
    buffer = BytesIO()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    pillow_heif.from_pillow(GRADIENT).save(buffer, quality=95, exif=exif.tobytes())
    data = buffer.getvalue()
    expected = Image.open(BytesIO(encoded(GRADIENT, "PNG", exif=exif)))
    assert nearly(decode(data), decode(expected), 8)
    assert code_of(data[: len(data) // 2]) == "truncated"


def test_large_jpegs_come_at_reduced_scale() -> None:
    data = encoded(drawings.gradient(1600, 1200), "JPEG")
    assert decode(data).shape == (1200, 1600, 3)
    assert decode(data, min_side=64).shape == (150, 200, 3)
    assert decode(data, min_side=512).shape == (600, 800, 3)
    assert decode(encoded(GRADIENT, "JPEG"), min_side=64).shape == (40, 60, 3)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PhotoReadError, match="no file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(PhotoReadError, match="folder"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoReadError, match="cannot be read: it is not a regular file"):
        decode(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoReadError, match="cannot be read"):
        decode("nul\0byte")


SPEC = InputSpec(
    height=20,
    width=20,
    resize="squash",
    interpolation="bilinear",
    mean=(0.1, 0.2, 0.3),
    std=(0.5, 0.25, 0.2),
)


def test_resize_rules() -> None:
    wide = np.asarray(drawings.gradient(60, 20))
    squashed = resize(wide, SPEC)
    cropped = resize(wide, SPEC.model_copy(update={"resize": "center_crop"}))
    assert squashed.shape == cropped.shape == (20, 20, 3)
    assert np.ptp(squashed[..., 0].astype(int)) > 200, "the whole width is seen"
    assert np.array_equal(cropped, wide[:, 20:40]), "the middle is seen, pixel for pixel"
    small = np.asarray(drawings.gradient(20, 20))
    assert np.array_equal(resize(small, SPEC), small)


@pytest.mark.parametrize("turned", [False, True])
def test_three_crops_show_both_ends_and_the_middle(turned: bool) -> None:
    spec = SPEC.model_copy(update={"resize": "three_crops"})
    wide = np.asarray(drawings.gradient(60, 20))
    ends = [wide[:, :20], wide[:, 20:40], wide[:, 40:]]
    photo = wide.transpose(1, 0, 2) if turned else wide
    expected = [end.transpose(1, 0, 2) if turned else end for end in ends]
    assert np.array_equal(crops(photo, spec), expected)
    assert np.array_equal(resize(photo, spec), expected[1])
    assert crops(np.asarray(drawings.gradient(50, 50)), spec).shape == (1, 20, 20, 3)
    for rule in ("squash", "center_crop"):
        other = spec.model_copy(update={"resize": rule})
        assert np.array_equal(crops(photo, other), resize(photo, other)[None])


def test_every_size_can_be_cropped() -> None:
    """The edges of a crop must not lie outside by a rounding error."""
    for side in (224, 299):
        update = {"resize": "three_crops", "height": side, "width": side}
        spec = SPEC.model_copy(update=update)
        # 29, 58, 116 and 225 are among those whose scale to 224 and back is not exact.
        for size in range(20, 240):
            for shape in ((size, 240, 3), (240, size, 3)):
                assert crops(np.zeros(shape, np.uint8), spec).shape[1:] == (side, side, 3)


def test_normalise() -> None:
    red = np.zeros((2, 4, 4, 3), np.uint8)
    red[..., 0] = 255
    rgb = normalise(red, SPEC)
    assert rgb.dtype == np.float32
    assert rgb[0, 0, 0] == pytest.approx([1.8, -0.8, -1.5])
    bgr = normalise(red, SPEC.model_copy(update={"channels": "bgr"}))
    assert bgr[0, 0, 0] == pytest.approx([-0.2, -0.8, 3.5])


def test_input_spec_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="std must be above 0"):
        InputSpec.model_validate(SPEC.model_dump() | {"std": (0.5, 0, 0.2)})
