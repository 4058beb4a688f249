"""Write the pages that are generated from all models of a folder."""

from __future__ import annotations

from pathlib import Path

from core.bundle.config import CARD
from core.bundle.leaderboard import read_models
from core.training.ablation_results import read_ablation
from core.training.evaluation.results_page import results_page
from core.training.evaluation.tables import index
from core.training.recipes import RECIPES

__all__ = ["write_pages"]


def write_pages(models: Path) -> None:
    """Write the index README.md of a models folder and, in a checkout, docs/RESULTS.md beside it.

    Args:
        models: The models folder.

    Raises:
        BundleError: A bundle or a record in the folder is damaged.
    """
    results = read_models(models)
    (models / CARD).write_text(index(results), "utf-8")
    docs = models.parent / "docs"
    if docs.is_dir():
        page = results_page(results, read_ablation(models), RECIPES)
        (docs / "RESULTS.md").write_text(page, "utf-8")
