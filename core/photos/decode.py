"""Decode photos: check their size and format, rotate them upright and convert them to 8-bit RGB.

`core.photos.orientation` reads the orientation from EXIF blocks.
"""

from __future__ import annotations

import importlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, features

from core.errors import ImageError, MissingExtraError, PhotoReadError
from core.photos.formats import jpeg
from core.photos.formats.claimed import INSPECTORS
from core.photos.formats.inspected import MAX_PIXELS, Inspected, damaged_error
from core.photos.formats.kind import kind_of
from core.photos.orientation import stored_orientation

__all__ = [
    "MAX_ASPECT",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "Photo",
    "check_bytes",
    "configure_pillow_limits",
    "decode",
    "inspect",
    "read_photo",
]

Photo = bytes | str | os.PathLike[str] | Image.Image
"""A photo as input: the bytes of a file, a path, or a PIL image."""

MAX_BYTES = 20 * 1024 * 1024
MAX_SIDE = 12_000
MAX_ASPECT = 64

# Exceptions of Pillow's decoders for malformed files, found by fuzzing.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)
_PIXEL_LIMIT_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# Pillow loads these plugins only with all others, which takes longer than decoding a small photo.
_PLUGINS = {"WEBP": "PIL.WebPImagePlugin", "AVIF": "PIL.AvifImagePlugin"}

# Number of rows that are converted to RGB at a time.
_STRIP_ROWS = 256

_T = TypeVar("_T")


def decode(photo: Photo, *, min_side: int | None = None) -> NDArray[np.uint8]:
    """Decode a photo.

    The format is detected from the content, not from the name. The EXIF orientation is applied,
    transparency is composited onto white, 16-bit grayscale is scaled to 8 bits, the first frame of
    an animation is used, and color profiles are ignored.

    Args:
        photo: Bytes of a file, its path, or a PIL image, which is not modified.
        min_side: A large JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter
            side keeps this many pixels; that is several times faster. None for full size.

    Returns:
        RGB array of shape (height, width, 3), uint8.

    Raises:
        ImageError: The bytes are not a photo, or it exceeds a limit.
        PhotoReadError: The path cannot be read.
    """
    if isinstance(photo, Image.Image):
        _check_size(*photo.size)
        return _translate_errors(lambda: _to_rgb(photo, _orientation_of(photo)))
    data = photo if isinstance(photo, bytes) else read_photo(photo)
    check_bytes(data)
    kind = kind_of(data)
    inspected = inspect(data, kind)
    if kind == "HEIF":
        return _decode_heif(inspected)
    if kind == "JPEG" and not jpeg.has_end(data):
        return _decode_jpeg_without_end(inspected, min_side)
    return _decode_with_pillow(inspected, kind, min_side)


def inspect(data: bytes, kind: str) -> Inspected:
    """Check the structure of a file against the limits, without decoding any pixels.

    Args:
        data: Bytes of the file.
        kind: Its format, the result of `kind_of`.

    Raises:
        ImageError: The file exceeds a limit or is damaged.
    """
    inspected = _translate_errors(lambda: INSPECTORS[kind](data))
    if inspected.width or inspected.height:
        _check_size(inspected.width, inspected.height)
    return inspected


def read_photo(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES + 1) -> bytes:
    """Read a photo's file.

    Args:
        path: Path of the file.
        max_bytes: Maximum number of bytes to read; by default one more than is allowed, so that
            `check_bytes` rejects a larger file.

    Raises:
        PhotoReadError: The path cannot be read.
    """
    file = Path(path)
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):
            # Opening a pipe would block until somebody writes to it.
            raise OSError("it is not a regular file")
        with file.open("rb") as stream:
            return stream.read(max_bytes)
    except FileNotFoundError as error:
        raise PhotoReadError(f"There is no file {file}. Check the path.") from error
    except IsADirectoryError as error:
        raise PhotoReadError(f"{file} is a folder. Pass the photos in it instead.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PhotoReadError(f"{file} cannot be read: {reason}. Check its permissions.") from error


def check_bytes(data: bytes) -> None:
    """Check the size of a file.

    Raises:
        ImageError: `too_large`.
    """
    if len(data) > MAX_BYTES:
        raise ImageError(
            "too_large",
            f"The file is larger than {MAX_BYTES // 2**20} MB. Send a smaller photo.",
        )


def configure_pillow_limits() -> None:
    """Make Pillow raise an error for images that are too large, instead of a warning.

    Entry points call this. `decode` rejects such images in any case; this covers libraries that
    open images themselves, and hides Pillow's warnings about repaired metadata from the terminal.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _open(data: bytes, kind: str) -> Image.Image:
    if kind in _PLUGINS:
        importlib.import_module(_PLUGINS[kind])
    if kind == "AVIF" and not features.check_module("avif"):
        raise ImageError(
            "unsupported", "AVIF is not supported on this computer. Send the photo as JPEG or PNG."
        )
    # The signature was checked before, so an error here means that the rest is damaged.
    return _translate_errors(lambda: Image.open(BytesIO(data), formats=(kind,)))


def _decode_with_pillow(inspected: Inspected, kind: str, min_side: int | None) -> NDArray[np.uint8]:
    image = _open(inspected.data, kind)
    _check_size(*image.size)
    if kind == "JPEG" and min_side is not None:
        image.draft(None, (min_side, min_side))
    return _translate_errors(lambda: _to_rgb(image, inspected.orientation))


def _decode_jpeg_without_end(inspected: Inspected, min_side: int | None) -> NDArray[np.uint8]:
    """Decode a JPEG without an end marker, which may still contain all its pixels.

    libjpeg silently fills missing pixels with gray. Therefore the file is decoded twice: with the
    end marker appended, and with other data before the marker. The results differ if pixels are
    missing.
    """
    whole, longer = (
        _decode_with_pillow(replace(inspected, data=inspected.data + tail), "JPEG", min_side)
        for tail in (jpeg.END, jpeg.FILLER + jpeg.END)
    )
    if not np.array_equal(whole, longer):
        raise damaged_error()
    return whole


def _decode_heif(inspected: Inspected) -> NDArray[np.uint8]:
    try:
        pillow_heif: Any = importlib.import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            "unsupported",
            f"HEIC photos are not supported here: {MissingExtraError('heif', 'HEIC')} "
            "Or send the photo as JPEG or PNG.",
        ) from None
    heif = _translate_errors(
        lambda: pillow_heif.open_heif(inspected.data, convert_hdr_to_8bit=True)
    )
    _check_size(*_translate_errors(lambda: heif.size))
    # libheif has applied the rotation already; the format says to ignore EXIF for it.
    return _translate_errors(lambda: _to_rgb(heif.to_pillow(), orientation=1))


def _translate_errors(work: Callable[[], _T]) -> _T:
    """Call Pillow, and translate its exceptions to ImageError."""
    try:
        return work()
    except _PIXEL_LIMIT_ERRORS as error:
        raise _too_many_pixels() from error
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            "too_many_pixels", "The photo needs more memory than is available. Send a smaller one."
        ) from error
    except _DECODER_ERRORS as error:
        raise damaged_error() from error


def _too_many_pixels() -> ImageError:
    return ImageError(
        "too_many_pixels",
        f"The photo has more than {MAX_PIXELS // 10**6} million pixels. Send a smaller one.",
    )


def _check_size(width: int, height: int) -> None:
    shorter, longer = sorted((width, height))
    if shorter < 1:
        raise damaged_error()
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if longer > MAX_SIDE or longer > MAX_ASPECT * shorter:
        raise ImageError(
            "too_many_pixels",
            f"The photo has {width} × {height} pixels; the limits are {MAX_SIDE:,} pixels per side "
            f"and an aspect ratio of {MAX_ASPECT}. Crop or resize it.",
        )


def _orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an image that a caller opened; 1 if it has none."""
    stored = {"exif", "Raw profile type exif"} & image.info.keys()
    try:
        # `getexif` loads the whole block, so it is called only where there is none: it then returns
        # the tags of a TIFF file and those set since the image was opened.
        orientation = None if stored else image.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_ERRORS:
        orientation = None
    return orientation or stored_orientation(image.info) or 1


_TRANSPOSE: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _to_rgb(image: Image.Image, orientation: int | None) -> NDArray[np.uint8]:
    """Load an image, rotate it upright and convert it to RGB.

    Args:
        image: The image.
        orientation: EXIF orientation, 1 to 8; None to read it from the image's metadata.
    """
    image.load()
    if orientation is None:
        orientation = stored_orientation(image.info) or 1
    transposition = _TRANSPOSE.get(orientation)
    if transposition is not None:
        image = image.transpose(transposition)
    if image.mode in ("F", "La", "RGBa"):
        raise ImageError(
            "unsupported", f"Pillow's image mode {image.mode} is not supported. Convert it to RGB."
        )
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.asarray(image)
    # Many programs write 32-bit BMP files whose fourth byte is unused.
    alpha_is_unused = (
        image.format == "BMP"
        and image.mode == "RGBA"
        and image.getchannel("A").getextrema() == (0, 0)
    )
    # In strips, since the intermediate images take several times the memory of the result.
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.height)
        strip = image.crop((0, top, image.width, bottom))
        rgb[top:bottom] = np.asarray(_strip_to_rgb(strip, alpha_is_unused=alpha_is_unused))
    return rgb


def _strip_to_rgb(strip: Image.Image, *, alpha_is_unused: bool) -> Image.Image:
    if strip.mode == "I" or strip.mode.startswith("I;16"):
        strip = _scale_16_bit_grey(strip)
    if strip.has_transparency_data and not alpha_is_unused:
        rgba = strip.convert("RGBA")
        strip = Image.new("RGB", rgba.size, "white")
        strip.paste(rgba, mask=rgba.getchannel("A"))
    return strip.convert("RGB")


def _scale_16_bit_grey(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; Pillow's own conversion would clip at 255."""
    grey = np.asarray(image)
    transparent = image.info.get("transparency")
    if grey.dtype != np.uint16:
        grey = np.clip(grey, 0, 65535).astype(np.uint16)
    shades = (grey // 257).astype(np.uint8)
    if isinstance(transparent, int):
        shades[grey == transparent] = 255
    return Image.fromarray(shades)
