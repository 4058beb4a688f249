"""Pages that are generated from all models of a folder."""

from __future__ import annotations

from pathlib import Path

from core.bundle.config import CARD
from core.bundle.leaderboard import read_models
from core.training.ablation_results import read_ablation
from core.training.evaluation import report

__all__ = ["write_pages"]


def write_pages(models: Path) -> None:
    """Generate the pages about all models of a folder again.

    README.md in it; and, where the folder is a checkout's, docs/RESULTS.md beside it.
    """
    results = read_models(models)
    (models / CARD).write_text(report.index(results), "utf-8")
    docs = models.parent / "docs"
    if docs.is_dir():
        page = report.results_page(results, read_ablation(models))
        (docs / "RESULTS.md").write_text(page, "utf-8")
