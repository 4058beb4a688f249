"""Resize and normalize decoded photos to the input that a model expects."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["InputSpec", "ResizeRule", "center_crop_box", "crops", "normalise", "resize"]

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Triple = tuple[float, float, float]
ResizeRule = Literal["squash", "center_crop", "three_crops"]


class InputSpec(BaseModel):
    """Input of a model, and how photos are preprocessed for it.

    Attributes:
        height, width: Size of the model's input in pixels.
        resize: `squash` resizes both sides without keeping the aspect ratio; `center_crop` resizes
            the shorter side and crops the center of the longer one; `three_crops` also takes both
            ends of the longer side.
        interpolation: Filter of the resizing, with antialiasing.
        channels: Order of the channels.
        mean, std: Mean and standard deviation of each channel in the order of `channels`, on the
            scale 0 to 1; the model gets (value / 255 - mean) / std.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    height: Annotated[int, Field(ge=8, le=1024)]
    width: Annotated[int, Field(ge=8, le=1024)]
    resize: ResizeRule
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
    channels: Literal["rgb", "bgr"] = "rgb"
    mean: Triple
    std: Triple

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Triple) -> Triple:
        if min(std) <= 0:
            raise ValueError(f"std must be above 0 in every channel, not {std}")
        return std


def resize(rgb: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Resize and crop an image to a model's input size; of three crops the middle one.

    Args:
        rgb: Array of shape (h, w, 3), uint8, any size.
        spec: Input specification of the model.

    Returns:
        Array of shape (spec.height, spec.width, 3), uint8; the image itself if it already has this
        size.
    """
    return _crop_and_resize(rgb, spec, 0.5)


def crops(rgb: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Resize an image to all crops that the model evaluates.

    Args:
        rgb: Array of shape (h, w, 3), uint8, any size.
        spec: Input specification of the model.

    Returns:
        Array of shape (c, spec.height, spec.width, 3), uint8. For the rule `three_crops`, c is 3,
        from left to right or top to bottom, unless nothing is cropped; otherwise 1.
    """
    height, width = rgb.shape[:2]
    if spec.resize != "three_crops" or height * spec.width == width * spec.height:
        return resize(rgb, spec)[None]
    return np.stack([_crop_and_resize(rgb, spec, position) for position in (0.0, 0.5, 1.0)])


def center_crop_box(width: int, height: int, spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the part of an image that `resize` uses: left, top, right and bottom in pixels.

    Args:
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        spec: Input specification of the model.
    """
    return _crop_box(width, height, spec, 0.5)


def _crop_and_resize(rgb: NDArray[np.uint8], spec: InputSpec, position: float) -> NDArray[np.uint8]:
    """Return the crop at a relative position on the longer side, 0 to 1."""
    height, width = rgb.shape[:2]
    if (height, width) == (spec.height, spec.width):
        return rgb
    scaled = Image.fromarray(rgb).resize(
        (spec.width, spec.height),
        _RESAMPLING[spec.interpolation],
        box=_crop_box(width, height, spec, position),
    )
    return np.asarray(scaled)


def _crop_box(
    width: int, height: int, spec: InputSpec, position: float
) -> tuple[float, float, float, float]:
    if spec.resize == "squash":
        return 0.0, 0.0, float(width), float(height)
    scale = min(width / spec.width, height / spec.height)
    left = (width - scale * spec.width) * position
    top = (height - scale * spec.height) * position
    right, bottom = left + scale * spec.width, top + scale * spec.height
    # Rounding may put an edge slightly outside, which Pillow rejects.
    return max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)


def normalise(rgb: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Normalise RGB pixels for a model.

    Args:
        rgb: Array of shape (..., w, 3), uint8, channels in the order red, green, blue.
        spec: Input specification of the model.

    Returns:
        Array of the same shape, float32, channels in the order of `spec.channels`.
    """
    if spec.channels == "bgr":
        rgb = rgb[..., ::-1]
    # In whole rows, since broadcasting over three channels is eight times slower in NumPy.
    columns = rgb.shape[-2]
    rows = rgb.reshape(*rgb.shape[:-2], -1).astype(np.float32)
    rows /= np.float32(255)
    rows -= np.tile(np.asarray(spec.mean, np.float32), columns)
    rows /= np.tile(np.asarray(spec.std, np.float32), columns)
    return rows.reshape(rgb.shape)
