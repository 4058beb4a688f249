"""The pictures that the page offers."""

from __future__ import annotations

from core.registry.catalog import Catalog
from core.settings import Settings
from demo.tabs import examples


def test_there_is_one_for_each_verdict_of_the_default_model() -> None:
    classifier = Catalog(Settings.read()).load()
    verdicts = {key: classifier.predict(file).verdict for key, file in examples.write().items()}
    assert verdicts == {
        "example_ship": "known",
        "example_lion": "unsure",
        "example_tower": "none",
    }
