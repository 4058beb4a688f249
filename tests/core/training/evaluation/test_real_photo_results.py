"""Tests of the section of docs/RESULTS.md on real photos."""

from __future__ import annotations

from core.bundle.leaderboard import ModelInfo, read_models
from core.bundle.metrics import ProportionEstimate, RealPhotoMetrics, SourceMetrics
from core.training.evaluation.real_photo_results import real_photo_results
from tests.conftest import ROOT


def _estimate(share: float, n: int) -> ProportionEstimate:
    return ProportionEstimate(n=n, share=share, low=share - 0.01, high=share + 0.01)


def _metrics(data: str, share: float, auroc: float = 0.98) -> RealPhotoMetrics:
    return RealPhotoMetrics(
        data=data,
        accuracy=_estimate(share, 693),
        recall={"cat": _estimate(0.98, 90), "truck": _estimate(0.91, 33)},
        auroc=0.9812,
        n_none=400,
        rejected=_estimate(0.93, 400),
        auroc_kept_back=0.9711,
        n_kept_back=551,
        rejected_kept_back=_estimate(0.88, 551),
        rejected_kinds={},
        rejected_kept_back_kinds={},
        ece=0.0123,
        ece_if_true=(0.01, 0.02),
        sources=(
            SourceMetrics(source="a/b", accuracy=_estimate(share, 40), n_none=20, auroc=auroc),
            SourceMetrics(source="c/none", accuracy=None, n_none=13, auroc=None),
        ),
    )


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
                real_photos=_metrics("real photos, valid", 0.972),
                real_photos_frozen=_metrics("real photos, valid", 0.957),
                unseen_sources=_metrics("real photos of held-out sources", 0.966),
            )
        ]
    )
    page = "\n".join(lines)
    assert sum("| 693 |" in line for line in lines) == 3
    assert "frozen features | real photos, valid | 693 | 0.9570 | 0.9470 to 0.9670" in page
    assert "truck 0.910 (n = 33) | 400 | 0.9812 | 0.930 (0.920 to 0.940) | 551 | 0.9711" in page
    assert "real photos of held-out sources | 693 | 0.9660" in page
    assert "By held-out source" not in page, "without the baseline there is nothing to compare"


def test_held_out_sources_are_compared_one_by_one() -> None:
    name = "real photos of held-out sources"
    page = "\n".join(
        real_photo_results(
            [
                _classic(
                    unseen_sources=_metrics(name, 0.966, auroc=0.97),
                    unseen_sources_frozen=_metrics(name, 0.904, auroc=0.92),
                )
            ]
        )
    )
    assert "By held-out source" in page
    assert "| a/b | 40 | 0.9660 | 0.9040 | 20 | 0.9700 | 0.9200 |" in page
    assert "| c/none |  |  |  | 13 |  |  |" in page
