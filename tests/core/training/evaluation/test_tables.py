"""Tables of all models."""

from __future__ import annotations

from core.bundle.leaderboard import read_models
from core.training.evaluation.tables import index
from tests.conftest import ROOT


def test_index_of_models_is_current() -> None:
    results = read_models(ROOT / "models")
    assert (ROOT / "models" / "README.md").read_text("utf-8") == index(results)


def test_index_shows_accuracy_on_photos_beside_the_test_set() -> None:
    (baseline,) = [r for r in read_models(ROOT / "models") if r.config.name == "baseline"]
    row = next(line for line in index([baseline]).splitlines() if "`baseline`" in line)
    assert "| 0.8313 (0.8238 to 0.8385, n = 10,000) | 0.785 (0.753 to 0.814, n = 693) |" in row
    assert "| 0.632 (0.473 to 0.766, n = 38) |" in row
