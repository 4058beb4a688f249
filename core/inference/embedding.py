"""The embedding of one photo and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.inference.prediction import Timing, pack_array, unpack_array

__all__ = ["Embedding"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Embedding of a photo by a base model, for the heads of taught models.

    Attributes:
        model, revision: Name and revision of the base.
        vector: The embedding, shape (d,), float32.
        features: Feature maps whose mean over places is the embedding, shape (h, w, d), float32;
            None unless requested.
        timing_ms: Milliseconds spent on decoding and on inference.
    """

    model: str
    revision: str
    vector: NDArray[np.float32]
    features: NDArray[np.float32] | None
    timing_ms: Timing

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON types, arrays as `pack_array` returns them."""
        return {
            "model": self.model,
            "revision": self.revision,
            "embedding": pack_array(self.vector),
            "features": None if self.features is None else pack_array(self.features),
            "timing_ms": asdict(self.timing_ms),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Embedding:
        """Create an embedding from the output of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: A field is missing or malformed.
        """
        packed = fields.get("features")
        vector = unpack_array(fields["embedding"])
        features = None if packed is None else unpack_array(packed)
        if vector.ndim != 1 or (features is not None and features.ndim != 3):
            raise ValueError("the arrays of an embedding have other shapes")
        return cls(
            str(fields["model"]),
            str(fields["revision"]),
            vector,
            features,
            Timing(**fields["timing_ms"]),
        )
