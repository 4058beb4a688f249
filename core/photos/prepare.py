"""Turn a photo into everything that is wanted of it, with as few decodings as possible."""

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
"""Pixels of the longer side of a preview, at most, and of an archival JPEG."""


@dataclass(frozen=True)
class Preparation:
    """What is wanted of a photo.

    Attributes:
        spec: Input of the model that is asked; None: no model is.
        preview: Pixels of the longer side of a preview, up to `MAX_PREVIEW`; None: none.
        archival: Whether the archival JPEG is wanted.
    """

    spec: InputSpec | None = None
    preview: int | None = None
    archival: bool = False

    def __post_init__(self) -> None:
        if self.preview is not None and not 1 <= self.preview <= MAX_PREVIEW:
            raise ValueError(f"a preview has 1 to {MAX_PREVIEW} pixels a side, not {self.preview}")


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo as it is wanted; what was not asked for is None.

    Attributes:
        crops: As `crops` gives them: shape (c, height, width, 3), uint8.
        preview: The photo upright, shape (h, w, 3), uint8.
        archival: JPEG of at most 1,024 pixels a side. Nothing of the file is in it but what can be
            seen: no place, no time, no name of a camera.
    """

    crops: NDArray[np.uint8] | None = None
    preview: NDArray[np.uint8] | None = None
    archival: bytes | None = None


def decoded_side(spec: InputSpec) -> int:
    """Return how many pixels the shorter side of a photo keeps when it is decoded for a model.

    Twice the model's side keeps the later, finer scaling free of artefacts.
    """
    return 2 * max(spec.height, spec.width)


def prepare(photo: Photo, wanted: Preparation) -> PreparedPhoto:
    """Decode a photo and make what is wanted of it.

    Raises:
        ImageError, PhotoReadError: As in `decode`.
    """
    windows = rgb = None
    if wanted.spec is not None:
        rgb = decode(photo, min_side=decoded_side(wanted.spec))
        windows = crops(rgb, wanted.spec)
    side = MAX_PREVIEW if wanted.archival else wanted.preview
    if side is None:
        return PreparedPhoto(windows)
    if rgb is None or max(rgb.shape[:2]) < side:
        # A large JPEG came back smaller than this.
        rgb = decode(photo, min_side=side)
    return PreparedPhoto(
        windows,
        None if wanted.preview is None else np.asarray(_scaled(rgb, wanted.preview)),
        _jpeg(_scaled(rgb, MAX_PREVIEW)) if wanted.archival else None,
    )


def to_archival_jpeg(photo: Photo) -> bytes:
    """Encode a photo as it is kept where its sender agreed, see `PreparedPhoto`.

    Raises:
        ImageError, PhotoReadError: As in `decode`.
    """
    return prepare(photo, Preparation(archival=True)).archival or b""


def _scaled(rgb: NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(rgb)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
