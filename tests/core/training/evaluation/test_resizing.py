"""Selection of the resize rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle.metrics import ResizeMetrics
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.evaluation.resizing import (
    best_resize_rule,
    crop_to_photo_formats,
    resize_metrics,
)
from tests.support import made


def test_resize_metrics_cover_every_rule(made_models: Path) -> None:
    """Shapes that fill the image are recognised by any part of it."""
    bundle = Catalog(Settings(models=made_models)).bundle("shapes")
    split = made.dataset().test
    figures = resize_metrics(
        bundle, crop_to_photo_formats(split), split.labels, "shapes", threads=1
    )
    assert set(figures.accuracy) == {"squash", "center_crop", "three_crops"}
    assert figures.n == 150
    assert min(figures.accuracy.values()) > 0.6


@pytest.mark.parametrize(
    ("accuracy", "chosen"),
    [
        ((0.7, 0.6, 0.705), "squash"),
        ((0.7, 0.71, 0.715), "center_crop"),
        ((0.7, 0.6, 0.72), "three_crops"),
    ],
)
def test_three_crops_needs_a_gain_of_one_percent(accuracy: tuple[float, ...], chosen: str) -> None:
    rules = ("squash", "center_crop", "three_crops")
    figures = ResizeMetrics(data="", n=9, accuracy=dict(zip(rules, accuracy, strict=True)))
    assert best_resize_rule(figures) == chosen
