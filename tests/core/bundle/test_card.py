"""The card that lies beside a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
