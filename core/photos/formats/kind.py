"""Detect the format of a file from its first bytes."""

from __future__ import annotations

import re

from core.errors import ImageError

__all__ = ["ACCEPTED", "kind_of"]

ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC"

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
# Container of images of any codec, mostly HEVC.
_HEIF_BRANDS = {b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
# Of several, the first one names the file.
_OTHER_BRANDS = {
    b"crx ": "CR3 (raw photo)",
    **dict.fromkeys((b"M4A ", b"M4B "), "audio"),
    b"jxl ": "JPEG XL",
    **dict.fromkeys((b"jp2 ", b"jpx ", b"jpm "), "JPEG 2000"),
    b"avio": "AVIF image sequence",
    **dict.fromkeys((b"vvic", b"vvis"), "HEIF with the codec VVC"),
    **dict.fromkeys((b"avci", b"avcs"), "HEIF with the codec AVC"),
    b"j2ki": "HEIF with the codec JPEG 2000",
    **dict.fromkeys((b"heif", b"mif2", b"miaf"), "HEIF with an unknown codec"),
}
_OTHER_CODEC_BRANDS = {b"vvic", b"vvis", b"avci", b"avcs", b"j2ki"}
# First bytes of a file, and what it is. Longer beginnings come before their own beginnings.
_OTHER_KINDS = {
    b"II*\x00\x10\x00\x00\x00CR": "CR2 (raw photo)",
    b"IIRO": "ORF (raw photo)",
    b"IIRS": "ORF (raw photo)",
    b"MMOR": "ORF (raw photo)",
    b"IIU\x00": "RW2 (raw photo)",
    b"\x00MRM": "MRW (raw photo)",
    b"FUJIFILMCCD-RAW": "RAF (raw photo)",
    b"FOVb": "X3F (raw photo)",
    b"II\x1a\x00\x00\x00HEAPCCDR": "CRW (raw photo)",
    # Most other raw formats (DNG, NEF, ARW, PEF) are TIFF files, too.
    b"II*\x00": "TIFF or raw photo",
    b"MM\x00*": "TIFF or raw photo",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"II\xbc\x01": "JPEG XR",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"gimp xcf": "XCF (GIMP)",
    b"\x00\x00\x01\x00": "icon",
    b"icns": "icon",
    b"DDS ": "DDS",
    b"\x01\xda": "SGI",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"qoif": "QOI",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"\x1aE\xdf\xa3": "video",  # Matroska, WebM
    b"FLV\x01": "video",
    b"\x00\x00\x01\xba": "video",  # MPEG program stream
    b"\x00\x00\x01\xb3": "video",  # MPEG-1 or MPEG-2
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "video",  # Windows Media
    b"OggS": "Ogg (audio or video)",
    b"ID3": "audio",
    b"fLaC": "audio",
}
# Those that first bytes alone do not tell.
_OTHER_PATTERNS = {
    re.compile(rb"\n[\x00\x02-\x05]\x01[\x01\x02\x04\x08]"): "PCX",
    re.compile(rb"P[1-7]\s+[\d#W]"): "PNM",
    re.compile(rb"RIFF.{4}AVI ", re.DOTALL): "video",
    re.compile(rb"RIFF.{4}WAVE", re.DOTALL): "audio",
    re.compile(rb"\x47.{187}\x47.{187}\x47", re.DOTALL): "video",  # MPEG transport stream
    re.compile(rb".{4}(moov|mdat|wide|pnot)", re.DOTALL): "video",  # QuickTime
    re.compile(rb".{128}DICM", re.DOTALL): "DICOM",
}
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"


def kind_of(data: bytes) -> str:
    """Return Pillow's name of a file's format; HEIF for the whole family.

    Raises:
        ImageError: `unsupported` for a known format that is not supported, `not_an_image` for
            anything else.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEVC_BRANDS or (brands & _HEIF_BRANDS and not brands & _OTHER_CODEC_BRANDS):
            return "HEIF"
    if (other := _other_kind(data)) is not None:
        raise ImageError(
            "unsupported",
            f"Files of the kind {other} are not supported. Send the photo as {ACCEPTED}.",
        )
    found = "The file is empty." if not data else "This is not a photo."
    raise ImageError("not_an_image", f"{found} Send a photo as {ACCEPTED}.")


def _brands(data: bytes) -> set[bytes]:
    """Return the formats that a file of the ISO base media format conforms to."""
    length = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[i : i + 4] for i in range(16, length, 4)}


def _other_kind(data: bytes) -> str | None:
    """Return the name of a format that is not supported; None if it is unknown."""
    if data[4:8] == b"ftyp":
        brands = _brands(data)
        return next((name for brand, name in _OTHER_BRANDS.items() if brand in brands), "video")
    start = data[:1024].lower()
    if b"<svg" in start and b"<html" not in start:
        return "SVG"
    if data.endswith(_TGA_FOOTER):
        return "TGA"
    for magic, name in _OTHER_KINDS.items():
        if data.startswith(magic):
            return name
    return next((name for each, name in _OTHER_PATTERNS.items() if each.match(data)), None)
