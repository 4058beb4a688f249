"""The model selector and its figures."""

from __future__ import annotations

import pytest

from core import locale
from core.bundle.leaderboard import read_unbundled
from core.registry.catalog import Catalog
from demo.model_choice import choice, sort_key
from tests.conftest import ROOT


def test_choice_shows_family_accuracy_on_photos_and_time(catalog: Catalog) -> None:
    (found,) = [each for each in catalog.models() if each.config.name == "efficientnet"]
    measured = found.metrics.photo_accuracy
    assert measured is not None
    photos, _ = measured
    for milliseconds, speed in ((1.25, "1.2 ms"), (11.9, "12 ms")):
        metrics = found.metrics.model_copy(update={"milliseconds": milliseconds})
        shown, name = choice(type(found)(found.config, metrics, found.revision), "en")
        assert shown == f"EfficientNet-Lite2 · {photos.share:.0%} · {speed} · fine-tuned"
        assert name == "efficientnet"


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_choice_does_not_repeat_the_family_of_the_title(
    catalog: Catalog, language: locale.Language
) -> None:
    named = [each for each in catalog.models() if "VGG16" in each.config.title]
    assert named
    assert all(choice(each, language)[0].endswith(" ms") for each in named)


def test_choice_falls_back_to_the_test_set(catalog: Catalog) -> None:
    (result,) = [each for each in catalog.models() if each.config.name == "scratch"]
    metrics = result.metrics.model_copy(update={"photos": None, "real_photos": None})
    without = type(result)(result.config, metrics, result.revision)
    assert f"{metrics.test.accuracy:.0%} on test images" in choice(without, "en")[0]
    assert sort_key(without) > sort_key(result)


def test_models_without_weights_come_last(catalog: Catalog) -> None:
    results = catalog.models()
    best = min(results, key=sort_key)
    assert best.config.name == "efficientnet"
    unbundled = read_unbundled(ROOT / "models")
    assert unbundled
    ordered = sorted([*unbundled, *results], key=sort_key)
    assert [each.revision is None for each in ordered] == sorted(
        each.revision is None for each in ordered
    )
