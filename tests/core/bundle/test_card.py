"""The card that lies beside a model."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from core.bundle.card import RELIABILITY, card
from core.bundle.config import CARD
from core.bundle.folder import Bundle, find_bundles
from tests.conftest import ROOT


@pytest.mark.parametrize("folder", find_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_a_card_tells_how_its_model_is_calibrated(folder: Path) -> None:
    bundle = Bundle.open(folder)
    metrics = json.loads(bundle.read("metrics.json"))
    text = bundle.read(CARD).decode()
    assert f"| ECE, 15 bins | {metrics['test']['ece']:.4f} |" in text
    assert f"]({RELIABILITY})" in text
    assert RELIABILITY in bundle.config.sha256, "the diagram lies beside it"
    photos = metrics["photos"]
    told = (
        f"Of those in class its mean confidence is {photos['confidence']:.3f} (ECE "
        f"{photos['ece']:.3f}, n {photos['accuracy']['n']}: a rough figure)."
        if photos["ece"] is not None
        else ""
    )
    assert told in text
    assert ("its mean confidence is" in text) == bool(told)


def test_a_card_tells_of_photos_what_was_measured() -> None:
    bundle = Bundle.open(ROOT / "models" / "baseline")
    metrics, told = bundle.metrics(), "its mean confidence is"
    assert metrics.photos is not None
    assert told in card(bundle.config, metrics)
    for photos in (None, metrics.photos.model_copy(update={"ece": None, "confidence": None})):
        less = metrics.model_copy(update={"photos": photos})
        assert told not in card(bundle.config, less)
    assert RELIABILITY not in card(bundle.config, metrics, pictures=False)


@pytest.mark.parametrize("folder", find_bundles(ROOT / "models"), ids=lambda folder: folder.name)
def test_stored_card_is_the_one_that_is_made_now(folder: Path) -> None:
    bundle = Bundle.open(folder)
    assert bundle.read(CARD).decode().endswith(card(bundle.config, bundle.metrics()))


def test_card_shows_the_words_of_whoever_made_the_model_as_they_are() -> None:
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
