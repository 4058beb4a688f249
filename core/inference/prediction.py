"""The answer to one photo, and how it is written as JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prediction", "Timing"]


@dataclass(frozen=True)
class Timing:
    """Milliseconds spent on one photo. In a batch, `infer` is the photo's share of the whole."""

    decode: float
    infer: float


@dataclass(frozen=True)
class Prediction:
    """The answer to one photo.

    Attributes:
        photo: The path as given; None for bytes and PIL images.
        model: Name of the model.
        revision: Which version of it.
        label: The most probable label.
        confidence: Its probability, 0 to 1.
        verdict: `known`; `unsure` when the confidence is too low to rely on; `none` when the photo
            shows none of the labels, as far as the model can tell.
        known_score: Higher for photos of the known labels; its scale is the model's own.
        scores: Calibrated probability of each label given that it is one of them, most probable
            first; they sum to 1.
        timing_ms: Where the time went.
        saliency: What spoke for `label`, by how unlike the photo's edges it is, in the photo as
            `preprocess.resize` gives it, shape (h, w) of the model's input, float32, 0 to 1; None
            unless asked for, and None where the model sees too coarsely to tell.
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
        """All fields, as they stand in JSON.

        Args:
            saliency: Also the saliency: {"shape": [h, w], "dtype": "<f4", "data": its bytes row by
                row in base64}, or None where there is none.
        """
        fields = asdict(replace(self, saliency=None))
        del fields["saliency"]
        if saliency:
            fields["saliency"] = None if self.saliency is None else _packed(self.saliency)
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Prediction:
        """What `to_dict` gave.

        Raises:
            ValueError, KeyError, TypeError: Something else.
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
            saliency=None if packed is None else _unpacked(packed),
        )


def _packed(values: NDArray[np.float32]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
    return {"shape": list(values.shape), "dtype": "<f4", "data": data}


def _unpacked(packed: Mapping[str, Any]) -> NDArray[np.float32]:
    values = np.frombuffer(base64.b64decode(packed["data"], validate=True), "<f4")
    return values.reshape(packed["shape"]).astype(np.float32)
