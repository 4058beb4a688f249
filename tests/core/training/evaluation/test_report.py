"""Generated files of the bundled models."""

from __future__ import annotations

import yaml

from core.bundle.folder import Bundle, find_bundles
from core.training.evaluation import report
from tests.conftest import ROOT


def test_bundled_cards_hold_what_metrics_json_holds() -> None:
    for folder in find_bundles(ROOT / "models"):
        bundle = Bundle.open(folder)
        card = bundle.read("README.md").decode()
        assert card == report.card_file(bundle.config, bundle.metrics()).decode()
        head = yaml.safe_load(card.split("---")[1])
        (result,) = head["model-index"][0]["results"]
        accuracy = next(m["value"] for m in result["metrics"] if m["type"] == "accuracy")
        assert accuracy == round(bundle.metrics().test.accuracy, 4)
