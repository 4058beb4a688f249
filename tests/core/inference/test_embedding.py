"""The JSON form of an embedding."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.inference.embedding import Embedding
from core.inference.prediction import Timing, pack_array


def embedding(*, features: bool) -> Embedding:
    maps = np.ones((2, 2, 3), np.float32) if features else None
    return Embedding("base", "0" * 12, np.ones(3, np.float32), maps, Timing(1.0, 2.0))


@pytest.mark.parametrize("features", [False, True])
def test_embedding_survives_its_json_form(features: bool) -> None:
    before = embedding(features=features)
    after = Embedding.from_dict(json.loads(json.dumps(before.to_dict())))
    assert (after.model, after.revision, after.timing_ms) == ("base", "0" * 12, Timing(1.0, 2.0))
    assert np.array_equal(after.vector, before.vector)
    assert (after.features is None) == (not features)
    assert after.features is None or np.array_equal(after.features, np.ones((2, 2, 3)))


@pytest.mark.parametrize("field", ["embedding", "features"])
def test_array_of_another_shape_is_rejected(field: str) -> None:
    fields = embedding(features=True).to_dict() | {field: pack_array(np.ones((2, 2), np.float32))}
    with pytest.raises(ValueError, match="other shapes"):
        Embedding.from_dict(fields)
