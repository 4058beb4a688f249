"""The results of one model on the tab Models."""

from __future__ import annotations

import json

import pytest

from core import locale
from core.registry.catalog import Catalog
from demo.tabs.model_details import calibration, learning_curves


@pytest.mark.parametrize(
    ("language", "on_rows", "on_photos"),
    [
        (
            "en",
            "On {n} test images, confidence and accuracy differ by {ece}%",
            "On {n} real photos, mean confidence was {confidence} and accuracy {right}.",
        ),
        (
            "nl",
            "Op {n} testbeelden verschillen zekerheid en nauwkeurigheid gemiddeld {ece}%",
            "Op {n} echte foto&#x27;s was de gemiddelde zekerheid {confidence} en de "
            "nauwkeurigheid {right}.",
        ),
    ],
)
def test_calibration_states_the_figures_of_the_metrics(
    catalog: Catalog, language: locale.Language, on_rows: str, on_photos: str
) -> None:
    bundle = catalog.bundle("baseline")
    metrics = json.loads((bundle.folder / "metrics.json").read_text())
    test, photos = metrics["test"], metrics["photos"]
    n = locale.decimal(test["n"], 0, language)
    ece = locale.decimal(100 * test["ece"], 1, language)
    said = on_photos.format(
        n=photos["accuracy"]["n"],
        confidence=f"{photos['confidence']:.0%}",
        right=f"{photos['accuracy']['share']:.0%}",
    )
    drawn = calibration(bundle.metrics(), language)
    assert on_rows.format(n=n, ece=ece) in drawn
    assert said in drawn
    bins = [each for each in test["reliability"] if each["n"] >= 10]
    assert drawn.count('<circle class="point first"') == len(bins)
    without = bundle.metrics().model_copy(update={"photos": None})
    assert said not in calibration(without, language)


def test_learning_curves_have_a_point_for_each_epoch(catalog: Catalog) -> None:
    metrics = catalog.bundle("classic").metrics()
    drawn = learning_curves(metrics, "en")
    assert drawn.count('<circle class="point first"') == len(metrics.curves)
    assert learning_curves(metrics.model_copy(update={"curves": ()}), "en") == ""
