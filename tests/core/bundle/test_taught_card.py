"""Cards of taught models."""

from __future__ import annotations

from pathlib import Path

from core.bundle.card import card
from core.bundle.folder import Bundle
from tests.conftest import ROOT
from tests.support.taught import write_taught


def test_card_states_labels_base_and_metrics(tmp_path: Path) -> None:
    taught = write_taught(tmp_path / "shapes", Bundle.open(ROOT / "models" / "classic"))
    text = card(taught.config, taught.metrics())
    for part in (
        "# Circles and squares",
        "It knows 2 labels: circle, square.",
        "on the\nmodel `classic`",
        "| correct label | 6 | 1.000 | 0.610 to 1.000 |",
        "More photos would help: square.",
        "1 of the photos may be in the wrong class.",
        "| circle | 3 | 0 |",
        "by a model that was taught without it",
    ):
        assert part in text, part
