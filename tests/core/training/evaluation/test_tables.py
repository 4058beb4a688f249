"""Tables of all models."""

from __future__ import annotations

from pathlib import Path

from core.bundle.leaderboard import read_models
from core.training.evaluation.tables import index
from core.training.pages import write_pages
from tests.conftest import ROOT


def test_index_of_models_is_current(tmp_path: Path) -> None:
    results = read_models(ROOT / "models")
    assert (ROOT / "models" / "README.md").read_text("utf-8") == index(results)


def test_index_lists_every_model(made_models: Path) -> None:
    write_pages(made_models)
    assert "Shapes (`shapes`)" in (made_models / "README.md").read_text("utf-8")
