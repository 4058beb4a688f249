"""Tests of the section of docs/RESULTS.md on real photos."""

from __future__ import annotations

from core.bundle.leaderboard import ModelInfo, read_models
from core.bundle.metrics import RealPhotoMetrics, SourceMetrics
from core.training.evaluation.real_photo_results import real_photo_results
from tests.conftest import ROOT
from tests.support.real_photo_metrics import estimate, real_photo_metrics


def _classic(**changes: RealPhotoMetrics | None) -> ModelInfo:
    """Return a bundled model with these metrics on real photos alone."""
    results = read_models(ROOT / "models")
    classic = next(result for result in results if result.config.name == "classic")
    metrics = classic.metrics.model_copy(update={"real_photos": None, **changes})
    return ModelInfo(classic.config, metrics, classic.revision)


def test_section_is_empty_without_results() -> None:
    assert real_photo_results([_classic()]) == []


def test_models_are_compared_with_their_frozen_features() -> None:
    lines = real_photo_results(
        [
            _classic(
                real_photos=real_photo_metrics("real photos, valid", 0.972),
                real_photos_frozen=real_photo_metrics("real photos, valid", 0.957),
                unseen_sources=real_photo_metrics("real photos of held-out sources", 0.966),
            )
        ]
    )
    page = "\n".join(lines)
    assert sum("| 693 |" in line for line in lines) == 3
    assert "frozen features | real photos, valid | 693 | 0.9570 | 0.9470 to 0.9670" in page
    assert "truck 0.910 (n = 33) | 257 | 0.9812 | 0.930 (0.920 to 0.940) | 694 | 0.9711" in page
    assert "real photos of held-out sources | 693 | 0.9660" in page
    assert "By held-out source" not in page, "without the baseline there is nothing to compare"


def test_held_out_sources_are_compared_one_by_one() -> None:
    name = "real photos of held-out sources"
    frozen = (
        SourceMetrics(source="a/photos", accuracy=estimate(0.904, 40), n_none=20, auroc=0.92),
        SourceMetrics(source="b/others", accuracy=None, n_none=13, auroc=None),
    )
    page = "\n".join(
        real_photo_results(
            [
                _classic(
                    unseen_sources=real_photo_metrics(name, 0.966),
                    unseen_sources_frozen=real_photo_metrics(name, 0.904, sources=frozen),
                )
            ]
        )
    )
    assert "By held-out source" in page
    assert "| a/photos | 40 | 0.9660 | 0.9040 | 20 | 0.9876 | 0.9200 |" in page
    assert "| b/others |  |  |  | 13 |  |  |" in page
