"""Averages over views and crops, by an engine whose results can be computed by hand."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from core.inference.engine import Engine, Outputs
from core.inference.multi_view import MAX_BATCH, MultiViewEngine
from core.photos.preprocess import InputSpec

SPEC = InputSpec(
    height=8,
    width=8,
    resize="squash",
    interpolation="bilinear",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)


class CornerEngine:
    """An engine that returns the pixel in the upper left corner, and the first channel as map."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, images: NDArray[np.float32]) -> Outputs:
        self.batches.append(len(images))
        return Outputs(images[:, 0, 0], images[:, 0, 0, :1])

    def explain(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(images))
        return images[..., :1]

    features_of = explain


@pytest.fixture
def engine() -> CornerEngine:
    return CornerEngine()


@pytest.fixture
def mirrored(engine: CornerEngine) -> MultiViewEngine:
    return MultiViewEngine(cast(Engine, engine), SPEC, ("identity", "mirror"))


def _images(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), np.uint8)


def test_outputs_are_means_over_views_in_bounded_batches(
    engine: CornerEngine, mirrored: MultiViewEngine
) -> None:
    images = _images(MAX_BATCH + 3)
    outputs = mirrored.outputs(images)
    expected = (images[:, 0, 0].astype(float) + images[:, 0, -1]) / 2 / 255
    assert outputs.logits == pytest.approx(expected, abs=1e-6)
    assert outputs.embedding == pytest.approx(expected[:, :1], abs=1e-6)
    assert engine.batches == [2 * MAX_BATCH, 2 * 3]


def test_outputs_of_crops_are_means_over_the_crops_of_each_photo(
    mirrored: MultiViewEngine,
) -> None:
    images = _images(5)
    of_each = mirrored.outputs(images)
    outputs = mirrored.outputs_of_crops([images[:1], images[1:4], images[4:]])
    for mean, each in ((outputs.logits, of_each.logits), (outputs.embedding, of_each.embedding)):
        assert mean.dtype == np.float32
        assert mean == pytest.approx(np.stack([each[0], each[1:4].mean(axis=0), each[4]]), abs=1e-6)
    assert np.array_equal(
        mirrored.outputs_of_crops([images[:1], images[1:2]]).logits, of_each.logits[:2]
    )


def test_maps_of_mirrored_views_are_mirrored_back(
    engine: CornerEngine, mirrored: MultiViewEngine
) -> None:
    images = _images(2)
    for maps in (mirrored.maps(images), mirrored.features(images)):
        assert maps == pytest.approx(images[..., :1] / 255, abs=1e-6)
    assert engine.batches == [2, 2, 2, 2], "one image at a time"
