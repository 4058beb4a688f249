"""docs/RESULTS.md and the table of the README."""

from __future__ import annotations

from core.bundle.leaderboard import ModelInfo, read_models
from core.bundle.metrics import PointingMetrics
from core.training.evaluation.results_page import results_page
from core.training.evaluation.tables import readme_table
from core.training.recipes import RECIPES
from tests.conftest import ROOT
from tests.support.real_photo_metrics import real_photo_metrics


def _with_real_photos(result: ModelInfo) -> ModelInfo:
    """Add metrics on real photos and on those of held-out sources, and those of the baseline."""
    measured = result.metrics.model_copy(
        update={
            "real_photos": real_photo_metrics("real photos, valid", 0.972),
            "real_photos_frozen": real_photo_metrics("real photos, valid", 0.957),
            "unseen_sources": real_photo_metrics("real photos of held-out sources", 0.966),
        }
    )
    return ModelInfo(result.config, measured, result.revision)


def _classic() -> ModelInfo:
    """Return a bundled model as if it had not been evaluated on real photos."""
    results = read_models(ROOT / "models")
    classic = next(result for result in results if result.config.name == "classic")
    metrics = classic.metrics.model_copy(update={"real_photos": None, "pointing": None})
    return ModelInfo(classic.config, metrics, classic.revision)


def test_photo_accuracy_prefers_validation_photos() -> None:
    classic = _classic()
    with_real = _with_real_photos(classic).metrics
    for metrics in (with_real, with_real.model_copy(update={"photos": None})):
        found = metrics.photo_accuracy
        assert found is not None
        assert (found[0].n, found[1]) == (693, "real photos, valid")
    found = classic.metrics.photo_accuracy
    assert found is not None
    assert (found[0].n, found[1]) == (38, "photos/")
    assert classic.metrics.model_copy(update={"photos": None}).photo_accuracy is None


def test_readme_table_has_both_sets_of_photos_with_intervals() -> None:
    classic = _classic()
    header, _, row, *_ = readme_table([_with_real_photos(classic)]).splitlines()
    assert header == (
        "| model | CIFAR-10, test | photos, validation | photos, test | ms per photo |"
    )
    assert row.count("n = 693)") == 1
    assert "| 0.658 (0.499 to 0.788, n = 38) |" in row
    row = readme_table([classic]).splitlines()[2]
    assert "| not measured | 0.658" in row
    assert "| 0.8715 (0.8648 to 0.8779, n = 10,000) |" in row


def test_results_page_has_both_sets_of_photos_beside_the_test_set() -> None:
    page = results_page([_with_real_photos(_classic())], None, RECIPES)
    row = next(line for line in page.splitlines() if line.startswith("| Classic CNN (`classic`)"))
    assert row.endswith(
        "| 0.8715 | 0.8648 to 0.8779 | 10,000 | 0.9720 | 0.9620 to 0.9820 | 693 "
        "| 0.6579 | 0.4989 to 0.7879 | 38 |"
    )
    assert "Photos, validation: 693 photos of known classes, which selected" in page
    assert "Photos, test: 38 photos of known classes, on which nothing was selected" in page


def test_results_page_names_pretrained_models_by_their_configuration() -> None:
    classic = _classic()
    assert "started from pretrained weights" not in results_page([classic], None, RECIPES)
    results = read_models(ROOT / "models")
    page = results_page(results, None, RECIPES)
    line = next(line for line in page.splitlines() if "started from pretrained weights" in line)
    for result in results:
        assert (f"`{result.config.name}`" in line) == (result.config.family != "scratch")


def test_results_page_lists_reported_metrics_of_recipes_without_a_model() -> None:
    page = results_page([_classic()], None, RECIPES)
    assert "| Baseline CNN (`baseline`) | 0.6527 |" in page


def test_results_page_shows_the_pointing_game_beside_its_baseline() -> None:
    classic = _classic()
    measured = classic.metrics.model_copy(
        update={
            "pointing": PointingMetrics(
                data="real photos, valid", n=500, mean=0.8, low=0.78, high=0.82, input_gradient=0.4
            )
        }
    )
    page = results_page([ModelInfo(classic.config, measured, classic.revision)], None, RECIPES)
    assert "## Explanations" in page
    assert "| 500 | 0.800 | 0.780 to 0.820 | 0.400 |" in page
    assert "## Explanations" not in results_page(
        [ModelInfo(classic.config, measured.model_copy(update={"pointing": None}), "")],
        None,
        RECIPES,
    )
