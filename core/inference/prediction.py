"""The prediction for one photo and its JSON form."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prediction", "Timing", "pack_array", "unpack_array"]


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent on one photo.

    Attributes:
        decode: Duration of decoding and resizing.
        infer: Duration of inference; in a batch, that of the batch divided by its size.
    """

    decode: float
    infer: float


@dataclass(frozen=True)
class Prediction:
    """Labels, confidence and verdict of a model for one photo.

    Attributes:
        photo: The path as given; None for bytes and PIL images.
        model: Name of the model.
        revision: Revision of the model, 12 hex digits.
        label: The most probable label.
        confidence: Its calibrated probability, 0 to 1.
        verdict: `known`; `unsure` where the confidence is below the model's threshold; `none` where
            known_score says that the photo shows none of the labels.
        known_score: Out-of-distribution score, higher for photos of the known labels; its scale
            depends on the model's method.
        scores: Calibrated probability of each label given that the photo shows one of them, in
            descending order; they sum to 1.
        timing_ms: Milliseconds spent on decoding and on inference.
        saliency: Saliency map for `label` over the resized photo: shape (h, w) of the model's
            input, float32, 0 to 1. None unless requested, and None where the model's evidence maps
            are too coarse.
    """

    photo: str | None
    model: str
    revision: str
    label: str
    confidence: float
    verdict: Literal["known", "unsure", "none"]
    known_score: float
    scores: dict[str, float]
    timing_ms: Timing
    saliency: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def to_dict(self, *, saliency: bool = False) -> dict[str, Any]:
        """Return all fields as JSON types.

        Args:
            saliency: Whether to include the saliency map: {"shape": [h, w], "dtype": "<f4",
                "data": base64 of the row-major bytes}, or None where there is none.
        """
        fields = asdict(replace(self, saliency=None))
        del fields["saliency"]
        if saliency:
            fields["saliency"] = None if self.saliency is None else pack_array(self.saliency)
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Prediction:
        """Create a prediction from the output of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: A field is missing or malformed.
        """
        packed = fields.get("saliency")
        return cls(
            photo=fields["photo"],
            model=fields["model"],
            revision=fields["revision"],
            label=fields["label"],
            confidence=fields["confidence"],
            verdict=fields["verdict"],
            known_score=fields["known_score"],
            scores=dict(fields["scores"]),
            timing_ms=Timing(**fields["timing_ms"]),
            saliency=None if packed is None else unpack_array(packed),
        )


def pack_array(values: NDArray[np.float32]) -> dict[str, Any]:
    """Return an array as JSON types: shape, dtype `<f4` and base64 of the row-major bytes."""
    data = base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
    return {"shape": list(values.shape), "dtype": "<f4", "data": data}


def unpack_array(packed: Mapping[str, Any]) -> NDArray[np.float32]:
    """Decode the output of `pack_array`.

    Raises:
        ValueError, KeyError, TypeError: A field is missing or malformed.
    """
    values = np.frombuffer(base64.b64decode(packed["data"], validate=True), "<f4")
    return values.reshape(packed["shape"]).astype(np.float32)
