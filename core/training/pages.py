"""Write the cards and pages that are generated from the models of a folder."""

from __future__ import annotations

from pathlib import Path

from core.bundle.config import CARD
from core.bundle.folder import Bundle, find_bundles, write_bundle
from core.bundle.leaderboard import read_models
from core.training.ablation_results import read_ablation
from core.training.evaluation.report import card_file
from core.training.evaluation.results_page import results_page
from core.training.evaluation.tables import index
from core.training.evaluation.teaching_results import read_teaching
from core.training.recipes import RECIPES

__all__ = ["write_cards", "write_pages"]


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
        page = results_page(results, read_ablation(models), RECIPES, read_teaching(models))
        (docs / "RESULTS.md").write_text(page, "utf-8")


def write_cards(models: Path) -> None:
    """Generate the cards of all models again from their metrics, after a change of the card's text.

    The digest of the card is part of config.json, so a changed card changes the model's revision.

    Args:
        models: The models folder.

    Raises:
        BundleError: A bundle is damaged.
    """
    for folder in find_bundles(models):
        bundle = Bundle.open(folder)
        card = card_file(bundle.config, bundle.metrics())
        if bundle.read(CARD) != card:
            files = {name: bundle.read(name) for name in bundle.config.sha256}
            write_bundle(folder, bundle.config, files | {CARD: card})
