"""Inspection of the structure of photo files, including hostile ones."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image

from core.errors import ImageError
from core.photos.decode import decode, inspect
from core.photos.formats import bmp, jpeg
from core.photos.formats.inspected import MAX_PARTS
from core.photos.formats.kind import kind_of
from tests.support import drawings
from tests.support.hostile_photos import (
    bmp_of_32_bits,
    encoded,
    gif,
    heif_of_parts,
    jpeg_of_many_scans,
    png,
    png_chunk,
    run_length_bmp,
)

GRADIENT = drawings.gradient(60, 40)


def refusal(data: bytes) -> tuple[str, str]:
    """Return code and message of the error that inspecting a file raises."""
    with pytest.raises(ImageError) as caught:
        inspect(data, kind_of(data))
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP", b"tEXt"])
def test_png_with_megabytes_of_metadata_is_decoded(kind: bytes) -> None:
    body = {
        b"zTXt": b"Comment\0\0" + zlib.compress(bytes(2_000_000)),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000)),
        b"iCCP": b"profile\0\0" + zlib.compress(bytes(2_000_000)),
        b"tEXt": b"Comment\0" + b"a" * 2_000_000,
    }[kind]
    assert decode(png(*[png_chunk(kind, body)] * 3)).shape == (16, 16, 3)


def test_png_with_a_spoiled_comment_is_decoded() -> None:
    chunk = bytearray(png_chunk(b"tEXt", b"Comment\0some"))
    chunk[-1] ^= 1
    assert decode(png(bytes(chunk))).shape == (16, 16, 3)


def test_png_of_too_many_chunks_is_rejected() -> None:
    for kind in (b"prVt", b"IDAT"):
        code, message = refusal(png(png_chunk(kind) * (MAX_PARTS + 1)))
        assert code == "unsupported"
        assert "more than 50,000 parts" in message
    assert decode(png(png_chunk(b"IDAT") * 1_000)).shape == (16, 16, 3)


def test_png_animation_decodes_to_its_first_image() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(data), np.asarray(frames[0]))
    behind = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert np.array_equal(decode(behind), np.asarray(frames[0]))


def test_jpeg_of_too_many_segments_is_rejected() -> None:
    data = encoded(GRADIENT, "JPEG")
    comments = b"\xff\xfe\x00\x02" * (MAX_PARTS + 1)
    assert refusal(data[:2] + comments + data[2:])[0] == "unsupported"
    assert decode(data[:2] + comments[:4_000] + data[2:]).shape == (40, 60, 3)


def test_jpeg_of_too_many_scans_is_rejected() -> None:
    code, message = refusal(jpeg_of_many_scans(64, jpeg.MAX_SCANS))
    assert code == "unsupported"
    assert "more than 100 scans" in message
    assert decode(jpeg_of_many_scans(64, jpeg.MAX_SCANS - 1)).shape == (64, 64, 3)
    # A comment that looks like the end of the picture hides no scans.
    data = jpeg_of_many_scans(64, 2 * jpeg.MAX_SCANS)
    at = data.rindex(b"\xff\xda")
    hidden = data[:at] + b"\xff\xfe\x00\x04\xff\xd9" + data[at:]
    assert refusal(hidden)[0] == "unsupported"


def test_data_after_a_jpeg_is_not_counted_as_scans() -> None:
    data = encoded(drawings.gradient(64, 64), "JPEG", progressive=True)
    assert np.array_equal(decode(data + b"\xff\xda\x00\x04ab" * 1_000), decode(data))


@pytest.mark.parametrize("before", [b"!\xfe\x01a\0", b"!\xff\x01a\0", b"\0"])
def test_gif_with_too_many_blocks_is_rejected(before: bytes) -> None:
    assert refusal(gif(before=before * (MAX_PARTS + 1)))[0] == "unsupported"
    assert np.array_equal(decode(gif(before=before * 1_000)), decode(gif(before=b"")))


def test_gif_with_an_endless_comment_is_rejected() -> None:
    endless = b"!\xf0" + b"\x01a" * (MAX_PARTS + 1) + b"\0"
    assert refusal(gif(before=endless))[0] == "unsupported"


def test_gif_keeps_its_transparency_after_comments() -> None:
    data = gif(before=b"!\xfe\x01a\0" + b"!\xf9\x04\x01\0\0\0\0" + b"!\xfe\x01a\0")
    assert (decode(data) == 255).all()


def test_large_run_length_encoded_bmp_is_rejected() -> None:
    side = 1 + int(bmp.MAX_RLE_PIXELS**0.5)
    code, message = refusal(run_length_bmp(side, b"\x01\x05\x00\x00" * side + b"\x00\x01"))
    assert code == "too_many_pixels"
    assert "run-length" in message
    assert refusal(run_length_bmp(16, b"\xff\x01" * 2_000))[0] == "too_many_pixels"
    assert (decode(run_length_bmp(16, b"\x10\x05\x00\x00" * 16 + b"\x00\x01")) == 5).all()


@pytest.mark.parametrize(
    ("kind", "count", "references"), [(b"grid", 8, 1), (b"iovl", 60, 1), (b"grid", 3, 2)]
)
def test_heif_with_too_many_pixels_in_parts_is_rejected(
    kind: bytes, count: int, references: int
) -> None:
    tile = Image.new("RGB", (1536, 1536))
    data = heif_of_parts(kind, count, side=1536, coded=tile, references=references)
    code, message = refusal(data)
    assert code == "too_many_pixels"
    assert "120 million pixels together" in message


def test_heif_with_recursive_parts_is_rejected() -> None:
    data = heif_of_parts(b"grid", 2, side=64, coded=Image.new("RGB", (64, 64)), references=1)
    itself = data.replace(b"\0\2\0\4" + b"\0\1" * 4, b"\0\2\0\4" + b"\0\2" * 4)
    assert itself != data
    assert refusal(itself)[0] == "too_many_pixels"


def test_heif_of_tiles_is_decoded() -> None:
    tile = Image.new("RGB", (64, 64), (200, 40, 40))
    for kind in (b"grid", b"iovl"):
        data = heif_of_parts(kind, 2, side=128, coded=tile)
        found = inspect(data, kind_of(data))
        assert (found.width, found.height) == (128, 128)
        assert found.pixels == {b"grid": 4 * 64 * 64, b"iovl": 128 * 128}[kind]
        assert decode(data).shape == (128, 128, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"])
def test_size_is_read_without_decoding(kind: str) -> None:
    data = encoded(GRADIENT, kind)
    found = inspect(data, kind_of(data))
    assert (found.width, found.height, found.pixels) == (60, 40, 2400)


def test_size_of_each_webp_variant_is_read() -> None:
    clear = Image.new("RGBA", (60, 40), (9, 9, 9, 9))
    for data in (
        encoded(GRADIENT, "WEBP", lossless=True),
        encoded(clear, "WEBP"),
        encoded(GRADIENT, "WEBP", exif=b"Exif\0\0II"),
    ):
        assert inspect(data, "WEBP").pixels == 2400


def test_bmp_alpha_of_zero_everywhere_is_ignored() -> None:
    pixels = np.full((8, 8, 4), (200, 30, 40, 0), np.uint8)
    assert (decode(bmp_of_32_bits(pixels))[0, 0] == (200, 30, 40)).all()
    pixels[0, 0, 3] = 255
    decoded = decode(bmp_of_32_bits(pixels))
    assert (decoded[0, 0] == (200, 30, 40)).all()
    assert (decoded[1, 1] == 255).all(), "alpha above zero somewhere is transparency"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("min_side", [None, 64])
def test_jpeg_without_its_end_marker_is_decoded(
    options: dict[str, bool], min_side: int | None
) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90, **options)
    whole = decode(data, min_side=min_side)
    for missing in (1, 2):
        assert np.array_equal(decode(data[:-missing], min_side=min_side), whole)
    restart = data.rfind(b"\xff\xd5")
    cuts = [20, 200, len(data) // 2] + ([len(data) - restart] if restart > 0 else [])
    for missing in cuts:
        with pytest.raises(ImageError) as caught:
            decode(data[:-missing], min_side=min_side)
        assert caught.value.code == "truncated", missing


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


THUMBNAIL = encoded(drawings.ship(64, 48), "JPEG")
THUMBNAILS = {
    "EXIF": jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + bytes(6) + THUMBNAIL),
    "JFXX": jpeg_segment(0xE0, b"JFXX\0\x10" + THUMBNAIL),
    "Photoshop": jpeg_segment(0xED, b"Photoshop 3.0\0" + THUMBNAIL),
    "comment": jpeg_segment(0xFE, THUMBNAIL),
    "MPF": jpeg_segment(0xE2, b"MPF\0" + THUMBNAIL),
}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("place", [*THUMBNAILS, "between scans"])
def test_end_marker_of_a_thumbnail_is_not_that_of_the_photo(place: str, progressive: bool) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90, progressive=progressive)
    whole = decode(data)
    start = data.rfind(b"\xff\xda") if place == "between scans" else 2
    segment = THUMBNAILS["comment" if place == "between scans" else place]
    data = data[:start] + segment + data[start:]
    assert jpeg.has_end(data)
    for missing in (1, 2):
        assert not jpeg.has_end(data[:-missing])
        assert np.array_equal(decode(data[:-missing]), whole)
    for missing in (20, 200, len(data) // 3):
        with pytest.raises(ImageError) as caught:
            decode(data[:-missing])
        assert caught.value.code == "truncated", missing


@pytest.mark.parametrize(
    "trailer",
    [
        b"\0\0\1\x0a\x0e\0\0\0Image_UTC_Data1700000000000SEFHj\0\0\0SEFT",
        b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40,
        THUMBNAIL[:-2],
        b"\xff",
    ],
    ids=["Samsung", "motion photo", "second image", "byte"],
)
def test_jpeg_with_data_after_its_end_is_decoded(trailer: bytes) -> None:
    data = encoded(drawings.ship(640, 480), "JPEG", quality=90)
    whole = decode(data)
    data = data[:2] + THUMBNAILS["EXIF"] + data[2:] + trailer
    assert jpeg.has_end(data)
    assert np.array_equal(decode(data), whole)
    assert np.array_equal(decode(data[:-1]), whole)


def test_mpo_without_its_last_bytes_is_decoded() -> None:
    ship = drawings.ship(640, 480)
    data = encoded(ship, "MPO", save_all=True, append_images=[drawings.ship(64, 48)])
    whole = decode(data)
    for missing in (1, 2, 300):
        assert np.array_equal(decode(data[:-missing]), whole)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3 (raw photo)"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2 (raw photo)"),
        (b"FUJIFILMCCD-RAW 0201", "RAF (raw photo)"),
        (b"IIRO\x08\0\0\0", "ORF (raw photo)"),
        (b"IIU\0\x08\0\0\0", "RW2 (raw photo)"),
        (b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom", "audio"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "video"),
        (b"\0\0\0\x18ftypqt  \0\0\0\0qt  qt  ", "video"),
        (b"\0\0\0\x18ftypjpx \0\0\0\0jp2 jpx ", "JPEG 2000"),
        (b"\0\0\0\x18ftypmif2\0\0\0\0mif2miaf", "HEIF with an unknown codec"),
        (b"\0\0\0\x18ftypmiaf\0\0\0\0miafmiaf", "HEIF with an unknown codec"),
        (b"\0\0\0\x14ftypheif\0\0\0\0heif", "HEIF with an unknown codec"),
        (b"\0\0\0\x14ftypavio\0\0\0\0avio", "AVIF image sequence"),
        (b"\0\0\0\x1cftypvvic\0\0\0\0mif1miafvvic", "HEIF with the codec VVC"),
        (b"\0\0\0\x18ftypavci\0\0\0\0mif1avci", "HEIF with the codec AVC"),
        (b"\0MRM\0\0\1\0\0PRD", "MRW (raw photo)"),
        (b"MMOR\0\0\0\x08", "ORF (raw photo)"),
        (b"II*\0\x08\0\0\0", "TIFF or raw photo"),
        (b"MM\0*\0\0\0\x08", "TIFF or raw photo"),
        (b"icns\0\0\1\0ic07", "icon"),
        (b"DDS |\0\0\0", "DDS"),
        (b"\n\5\1\x08\0\0", "PCX"),
        (b"\x01\xda\1\1\0\3", "SGI"),
        (b"gimp xcf v011\0", "XCF (GIMP)"),
        (b"8BPS\0\1", "Photoshop"),
        (b"v/1\x01\2\0\0\0", "OpenEXR"),
        (b"qoif\0\0\0\x40", "QOI"),
        (b"P6\n64 64\n255\n", "PNM"),
        (b"P1\n# a comment\n8 8\n", "PNM"),
        (b"P7\nWIDTH 4\n", "PNM"),
        (b"II\xbc\x01\x20\0\0\0", "JPEG XR"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "video"),
        (b"RIFF\xff\n\0\0AVI LIST", "video"),
        (b"RIFF\xff\n\0\0WAVEfmt ", "audio"),
        (b"\0\0\1\xba\x44\0", "video"),
        (b"\0\0\1\xb3\x14\0", "video"),
        ((b"\x47" + bytes(187)) * 3, "video"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video"),
        (b"OggS\0\2", "Ogg (audio or video)"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_unsupported_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data + bytes(100))
    assert caught.value.code == "unsupported"
    assert f"Files of the kind {name} are not supported" in str(caught.value)


@pytest.mark.parametrize("kind", ["ICNS", "DDS", "PCX", "TGA", "SGI", "PPM", "TIFF", "JPEG2000"])
def test_unsupported_formats_of_pillow_are_named(kind: str) -> None:
    names = {"ICNS": "icon", "PPM": "PNM", "TIFF": "TIFF or raw photo", "JPEG2000": "JPEG 2000"}
    with pytest.raises(ImageError, match=f"of the kind {names.get(kind, kind)} are not supported"):
        decode(encoded(drawings.gradient(64, 64), kind))


@pytest.mark.parametrize("data", [b"Please 12", b"P9 12", b"\n\1\1\x08", b"G\0\0", b"\0\0\1\xff"])
def test_unknown_data_is_no_photo(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data + bytes(1000))
    assert caught.value.code == "not_an_image"
