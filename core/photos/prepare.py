"""Derive model input, preview and archival JPEG from a photo, with as few decodings as possible."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.photos.decode import Photo, decode
from core.photos.preprocess import InputSpec, crops

__all__ = [
    "MAX_PREVIEW",
    "Preparation",
    "PreparedPhoto",
    "decoded_side",
    "prepare",
    "to_archival_jpeg",
]

MAX_PREVIEW = 1024
"""Maximum length in pixels of the longer side of a preview and of an archival JPEG."""


@dataclass(frozen=True)
class Preparation:
    """A request for images derived from a photo.

    Attributes:
        spec: Input specification of the model; None for no model input.
        preview: Length of the preview's longer side in pixels, up to `MAX_PREVIEW`; None for no
            preview.
        archival: Whether to encode the archival JPEG.

    Raises:
        ValueError: The size of the preview is out of range.
    """

    spec: InputSpec | None = None
    preview: int | None = None
    archival: bool = False

    def __post_init__(self) -> None:
        if self.preview is not None and not 1 <= self.preview <= MAX_PREVIEW:
            raise ValueError(
                f"a preview has 1 to {MAX_PREVIEW} pixels per side, not {self.preview}"
            )


@dataclass(frozen=True)
class PreparedPhoto:
    """The derived images; None for those that were not requested.

    Attributes:
        crops: The model's input, result of `crops`: shape (c, height, width, 3), uint8.
        preview: The upright photo, RGB array of shape (h, w, 3), uint8.
        archival: JPEG of at most 1,024 pixels a side, without metadata such as location or time.
    """

    crops: NDArray[np.uint8] | None = None
    preview: NDArray[np.uint8] | None = None
    archival: bytes | None = None


def decoded_side(spec: InputSpec) -> int:
    """Return the minimum length in pixels of a photo's shorter side when decoded for a model.

    Twice the model's side avoids artifacts of the subsequent resizing.
    """
    return 2 * max(spec.height, spec.width)


def prepare(photo: Photo, request: Preparation) -> PreparedPhoto:
    """Decode a photo and derive the requested images.

    Args:
        photo: The photo.
        request: The requested images.

    Raises:
        ImageError, PhotoReadError: As in `decode`.
    """
    input_crops = rgb = None
    if request.spec is not None:
        rgb = decode(photo, min_side=decoded_side(request.spec))
        input_crops = crops(rgb, request.spec)
    side = MAX_PREVIEW if request.archival else request.preview
    if side is None:
        return PreparedPhoto(input_crops)
    if rgb is None or max(rgb.shape[:2]) < side:
        # The JPEG was decoded at a reduced scale, smaller than this.
        rgb = decode(photo, min_side=side)
    return PreparedPhoto(
        input_crops,
        None if request.preview is None else np.asarray(_downscale(rgb, request.preview)),
        _encode_jpeg(_downscale(rgb, MAX_PREVIEW)) if request.archival else None,
    )


def to_archival_jpeg(photo: Photo) -> bytes:
    """Encode a photo for storage with its sender's consent, see `PreparedPhoto.archival`.

    Raises:
        ImageError, PhotoReadError: As in `decode`.
    """
    return prepare(photo, Preparation(archival=True)).archival or b""


def _downscale(rgb: NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _encode_jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
