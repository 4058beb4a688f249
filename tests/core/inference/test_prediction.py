"""The JSON form of a prediction."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core.inference.prediction import Prediction, Timing, pack_array, unpack_array

SALIENCY = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
PREDICTION = Prediction(
    photo="cat.jpg",
    model="classic",
    revision="0" * 12,
    label="cat",
    confidence=0.9,
    verdict="known",
    known_score=1.5,
    scores={"cat": 0.9, "dog": 0.1},
    timing_ms=Timing(decode=2.0, infer=3.0),
    saliency=SALIENCY,
)


def test_prediction_survives_its_json_form() -> None:
    fields = json.loads(json.dumps(PREDICTION.to_dict(saliency=True)))
    copy = Prediction.from_dict(fields)
    assert copy == PREDICTION
    assert copy.saliency is not None
    assert np.array_equal(copy.saliency, SALIENCY)


def test_saliency_is_left_out_unless_requested() -> None:
    assert "saliency" not in PREDICTION.to_dict()
    without = replace(PREDICTION, saliency=None)
    assert without.to_dict(saliency=True)["saliency"] is None
    assert Prediction.from_dict(without.to_dict()).saliency is None


@pytest.mark.parametrize("data", ["no base64!", "AAAA", ""])
def test_malformed_array_is_rejected(data: str) -> None:
    packed = pack_array(np.zeros((2, 2), np.float32)) | {"data": data}
    with pytest.raises(ValueError, match=r"."):
        unpack_array(packed)
