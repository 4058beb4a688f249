"""The model selector and its figures."""

from __future__ import annotations

from core.registry.catalog import Catalog
from demo.model_choice import choice, photo_accuracy, sort_key


def test_choice_shows_family_accuracy_on_photos_and_time(catalog: Catalog) -> None:
    (result,) = [each for each in catalog.models() if each.config.name == "efficientnet"]
    photos = photo_accuracy(result.metrics)
    assert photos is not None
    shown, name = choice(result, "en")
    speed = f"{result.metrics.milliseconds:.1f} ms"
    assert shown == f"EfficientNet-Lite2 · {photos.share:.0%} · {speed} · fine-tuned"
    assert name == "efficientnet"


def test_choice_falls_back_to_the_test_set(catalog: Catalog) -> None:
    (result,) = [each for each in catalog.models() if each.config.name == "scratch"]
    metrics = result.metrics.model_copy(update={"photos": None, "real_photos": None})
    without = type(result)(result.config, metrics, result.revision)
    assert f"{metrics.test.accuracy:.0%} on test images" in choice(without, "en")[0]
    assert sort_key(without) > sort_key(result)
