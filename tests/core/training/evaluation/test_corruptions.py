"""Common corruptions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.registry.catalog import Catalog
from core.training.data.datasets import Split
from core.training.evaluation.corruptions import corrupt, corruptions, measure_corruptions
from tests.support import made


def _state() -> list[int]:
    _, words, *_ = np.random.get_state(legacy=True)  # noqa: NPY002
    return list(map(int, words))


def test_corruptions_are_deterministic(ships: Split) -> None:
    images = ships.images[:3, ::2, ::2]
    names = corruptions()
    assert len(names) == len(set(names)) == 15
    state = _state()
    for name in names:
        weak, strong = (corrupt(images, name, strength) for strength in (1, 5))
        assert weak.shape == images.shape
        assert weak.dtype == np.uint8
        assert np.array_equal(weak, corrupt(images, name, 1)), name
        far = [np.abs(each.astype(int) - images).mean() for each in (weak, strong)]
        assert min(far) > 0, name
        if name not in ("frost", "brightness", "fog"):  # which depend on the picture
            assert far[0] < far[1], name
    assert _state() == state, "others draw on as before"


@pytest.mark.long
def test_measure_corruptions_covers_models_and_severities(
    catalog: Catalog, made_models: object
) -> None:
    split = made.dataset().test.take(np.arange(12))
    split = replace(split, labels=np.full(12, 8))
    classifiers = [catalog.load("classic"), catalog.load("baseline")]
    metrics_by_corruption = dict(measure_corruptions(classifiers, split))
    assert list(metrics_by_corruption) == corruptions()
    for metrics in metrics_by_corruption.values():
        assert set(metrics) == {"classic", "baseline"}
        for each in metrics.values():
            assert len(each.accuracy) == len(each.ece) == 5
