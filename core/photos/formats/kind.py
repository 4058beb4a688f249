"""Detect the format of a file from its first bytes."""

from __future__ import annotations

from core.errors import ImageError

__all__ = ["ACCEPTED", "kind_of"]

ACCEPTED = "JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC"

_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF_BRANDS |= {b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_OTHER_BRANDS = {b"crx ": "CR3 (raw photo)", b"M4A ": "audio", b"M4B ": "audio"}
_OTHER_BRANDS |= {b"jxl ": "JPEG XL", b"jp2 ": "JPEG 2000"}
_OTHER_KINDS = {
    b"II*\x00\x10\x00\x00\x00CR": "CR2 (raw photo)",
    b"IIRO": "ORF (raw photo)",
    b"IIRS": "ORF (raw photo)",
    b"IIU\x00": "RW2 (raw photo)",
    b"FUJIFILMCCD-RAW": "RAF (raw photo)",
    b"FOVb": "X3F (raw photo)",
    b"II\x1a\x00\x00\x00HEAPCCDR": "CRW (raw photo)",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "icon",
    b"%PDF": "PDF",
}


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
    other = next((name for magic, name in _OTHER_KINDS.items() if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        length = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12]} | {data[i : i + 4] for i in range(16, length, 4)}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
        other = next((_OTHER_BRANDS[b] for b in _OTHER_BRANDS if b in brands), "video")
    start = data[:1024].lower()
    if b"<svg" in start and b"<html" not in start:
        other = "SVG"
    if other is not None:
        raise ImageError(
            "unsupported",
            f"Files of the kind {other} are not supported. Send the photo as {ACCEPTED}.",
        )
    found = "The file is empty." if not data else "This is not a photo."
    raise ImageError("not_an_image", f"{found} Send a photo as {ACCEPTED}.")
