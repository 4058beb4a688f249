"""Tables of all models."""

from __future__ import annotations

from core.bundle.leaderboard import read_models
from core.training.evaluation.tables import index
from tests.conftest import ROOT


def test_index_of_models_is_current() -> None:
    results = read_models(ROOT / "models")
    assert (ROOT / "models" / "README.md").read_text("utf-8") == index(results)
