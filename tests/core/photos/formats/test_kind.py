"""Formats of files that are not accepted, named by their first bytes."""

from __future__ import annotations

import pytest

from core.errors import ImageError
from core.photos.decode import decode
from tests.support import drawings
from tests.support.hostile_photos import encoded


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
