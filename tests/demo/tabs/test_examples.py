"""The example photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import locale
from core.registry.catalog import Catalog
from core.settings import Settings
from demo.tabs import examples
from tests.conftest import ROOT


def _verdicts(model: str | None) -> set[str]:
    classifier = Catalog(Settings.read()).load(model)
    return {classifier.predict(examples.path(name)).verdict for name in examples.NAMES}


def test_examples_show_objects_that_the_default_model_knows_and_rejects() -> None:
    assert _verdicts(None) >= {"known", "none"}


def test_examples_show_every_verdict() -> None:
    # The default model is unsure of too few photos for an example of it.
    assert _verdicts("classic") == {"known", "unsure", "none"}


def test_examples_show_each_model_at_its_best_and_its_worst() -> None:
    names, truths = examples.NAMES, dict.fromkeys(examples.NAMES, "none")
    truths |= {name: name.partition("_")[0] for name in names if name.startswith(("cat", "ship"))}
    right = {}
    for model in ("scratch", "transfer", "finetuned", "efficientnet"):
        classifier = Catalog(Settings(models=ROOT / "models")).load(model)
        given = {name: classifier.predict(examples.path(name)) for name in names}
        right[model] = {
            name
            for name, each in given.items()
            if truths[name] == (each.label if each.verdict == "known" else each.verdict)
        }
    # Of each, some example is answered better, and another one worse, than by some other model.
    some, every = set.union(*right.values()), set.intersection(*right.values())
    assert {model: (bool(own - every), bool(some - own)) for model, own in right.items()} == (
        dict.fromkeys(right, (True, True))
    )


def test_examples_have_a_thumbnail_each() -> None:
    assert len(examples.NAMES) >= 8
    rendered = examples.thumbnails_html("de")
    assert rendered.count("<img ") == len(examples.NAMES)
    assert "Katze, gedreht" in rendered


def test_path_of_an_unknown_name_is_that_of_the_first_example() -> None:
    first = examples.path(examples.NAMES[0])
    assert examples.path("../../etc/passwd") == first
    assert Path(first).is_file()


def test_bundled_photos_are_small_and_credited() -> None:
    photos = sorted((ROOT / "demo/photos").glob("*.jpg"))
    credited = (ROOT / "demo/photos/README.md").read_text("utf-8")
    assert photos
    for photo in photos:
        assert photo.stat().st_size < 40_000
        assert f"| {photo.name} |" in credited


@pytest.mark.parametrize("language", locale.LANGUAGES)
def test_page_credits_the_photos_and_marks_the_drawing(language: locale.Language) -> None:
    texts = locale.page_texts(language)
    for credited in (
        "Stefan van der Walt (CC0)",
        "Rachel Michetti (CC0)",
        "SpaceX",
        "Gradio (Apache 2.0)",
    ):
        assert credited in texts["about_credits"]
    # A plain "ship" would pass for a photo.
    assert len(texts["example_ship"].split()) > 1
