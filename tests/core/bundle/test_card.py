"""Tests of the model card."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from core.bundle.card import RELIABILITY, card
from core.bundle.config import CARD, Config, PhotoSource
from core.bundle.folder import Bundle, find_bundles
from tests.conftest import ROOT


@pytest.mark.parametrize("folder", find_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_card_states_calibration_of_its_model(folder: Path) -> None:
    bundle = Bundle.open(folder)
    metrics = json.loads(bundle.read("metrics.json"))
    text = bundle.read(CARD).decode()
    assert f"| ECE (15 bins) | {metrics['test']['ece']:.4f} |" in text
    assert f"]({RELIABILITY})" in text
    assert RELIABILITY in bundle.config.sha256, "the digest of the diagram is missing"
    photos = metrics["photos"]
    sentence = (
        f"Mean confidence on photos of known classes: {photos['confidence']:.3f} (ECE "
        f"{photos['ece']:.3f}, a rough estimate from n = {photos['accuracy']['n']})."
        if photos["ece"] is not None
        else ""
    )
    assert sentence in text
    assert ("Mean confidence on photos" in text) == bool(sentence)


def test_card_states_photo_confidence_only_where_measured() -> None:
    bundle = Bundle.open(ROOT / "models" / "baseline")
    metrics, sentence = bundle.metrics(), "Mean confidence on photos"
    assert metrics.photos is not None
    assert sentence in card(bundle.config, metrics)
    for photos in (None, metrics.photos.model_copy(update={"ece": None, "confidence": None})):
        less = metrics.model_copy(update={"photos": photos})
        assert sentence not in card(bundle.config, less)
    assert RELIABILITY not in card(bundle.config, metrics, pictures=False)


@pytest.mark.parametrize("folder", find_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_stored_card_equals_generated_card(folder: Path) -> None:
    bundle = Bundle.open(folder)
    generated = card(bundle.config, bundle.metrics())
    assert bundle.read(CARD).decode().endswith(generated), "run make docs"


def test_card_escapes_markup_in_texts_of_the_bundle() -> None:
    bundle = Bundle.open(ROOT / "models" / "classic")
    bad = "<img src=x onerror=alert(1)> [click](https://bad.example) ![](https://bad.example/i) *b*"
    training = bundle.config.training.model_copy(
        update=dict.fromkeys(("recipe", "data", "notes", "hardware", "date", "commit"), bad)
    )
    config = bundle.config.model_copy(
        update={
            "title": f"# {bad}",
            "description": f"- {bad}",
            "labels": (f"{bad} | a", *bundle.config.labels[1:]),
            "training": training,
        }
    )
    metrics = bundle.metrics()
    origin = metrics.origin.model_copy(
        update=dict.fromkeys(("hardware", "date", "commit"), bad)
        | {"command": f"`{bad}", "versions": {bad: bad}}
    )
    classes = [c.model_copy(update={"label": f"{bad} | a"}) for c in metrics.test.classes]
    test = metrics.test.model_copy(update={"data": bad, "classes": tuple(classes)})
    metrics = metrics.model_copy(update={"origin": origin, "test": test})
    markdown = MarkdownIt("gfm-like", {"linkify": False})

    def tags(text: str) -> Counter[str]:
        return Counter(re.findall(r"<(\w+)", markdown.render(text)))

    noted = bundle.config.training.model_copy(update={"notes": "notes"})
    plain = bundle.config.model_copy(update={"training": noted})
    good = card(plain, bundle.metrics(), pictures=False)
    assert tags(card(config, metrics, pictures=False)) == tags(good)


def test_card_names_training_photos_only_where_they_are_recorded() -> None:
    bundle = Bundle.open(ROOT / "models" / "classic")
    metrics, training = bundle.metrics(), bundle.config.training
    assert "Real photos in the training data" not in card(bundle.config, metrics)
    dumped = bundle.config.model_dump(mode="json")
    assert "photos" not in dumped["training"], "older versions reject unknown fields"
    sources = (PhotoSource(name="a/photos", photos=7, license="MIT"),)
    changed = training.model_copy(update={"photos": sources})
    config = bundle.config.model_copy(update={"training": changed})
    assert "\n| a/photos | 7 | MIT |\n" in card(config, metrics)
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", ["scratch", "classic", "baseline"])
def test_card_says_that_photos_selected_what_weights_never_saw(name: str) -> None:
    bundle = Bundle.open(ROOT / "models" / name)
    metrics = bundle.metrics()
    text = " ".join(card(bundle.config, metrics).split())
    data = re.escape(bundle.config.training.data)
    assert re.search(rf"{data}\. The weights were trained on these data alone; real photos", text)
    assert bundle.config.training.data.startswith("CIFAR-10, 45,000 ")
    shared = "to held-out images of the data set and, with the same total weight, to the validation"
    assert shared in text
    assert metrics.resize is not None
    tiny = metrics.resize.model_copy(update={"data": "Tiny ImageNet valid"})
    without = card(bundle.config, metrics.model_copy(update={"resize": tiny}))
    assert "were fitted on validation data" in without
    assert "these data alone" not in without


def test_card_of_fine_tuned_model_does_not_say_that_weights_saw_no_photo() -> None:
    bundle = Bundle.open(ROOT / "models" / "efficientnet")
    text = card(bundle.config, bundle.metrics())
    assert "with the same total weight" in text
    assert "these data alone" not in text


def test_card_shows_accuracy_on_photos_beside_the_test_set() -> None:
    bundle = Bundle.open(ROOT / "models" / "baseline")
    metrics = bundle.metrics()
    text = card(bundle.config, metrics)
    rows = (
        "| CIFAR-10 test | 10,000 | 0.8313 | 0.8238 to 0.8385 |\n"
        "| real photos, valid, known classes | 693 | 0.7850 | 0.7529 to 0.8140 |\n"
        "| photos for evaluation only, known classes | 38 | 0.6316 | 0.4728 to 0.7662 |\n"
    )
    assert rows in text
    without = metrics.model_copy(update={"photos": None, "real_photos": None})
    assert f"{rows.splitlines()[0]}\n\n" in card(bundle.config, without)
