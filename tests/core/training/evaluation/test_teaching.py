"""Episodes that evaluate teaching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.inference.head import EmbeddingSpace
from core.teaching.space import fit_space
from core.training.data.real_photos import ALIKE_KINDS, KEPT_BACK_KINDS
from core.training.evaluation.results_page import results_page
from core.training.evaluation.teaching import EmbeddedPhotos, evaluate_teaching
from core.training.evaluation.teaching_results import (
    SuiteResult,
    TeachingResults,
    read_teaching,
    write_teaching,
)

_D = 32


@pytest.fixture(scope="module")
def photos() -> EmbeddedPhotos:
    """Return embeddings of each kind around its own center; those of MobileNetV2 are noise."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(sorted({*KEPT_BACK_KINDS, *ALIKE_KINDS}), 14)
    centers = {kind: rng.normal(0, 3, _D) for kind in np.unique(kinds)}
    plain = np.stack([centers[kind] for kind in kinds]) + rng.normal(0, 1, (len(kinds), _D))
    views = np.stack([plain, plain + rng.normal(0, 0.2, plain.shape)], axis=1)
    return EmbeddedPhotos(
        views.astype(np.float32), rng.normal(size=(len(kinds), 8)).astype(np.float32), kinds
    )


@pytest.fixture(scope="module")
def space() -> EmbeddingSpace:
    rng = np.random.default_rng(1)
    return fit_space(
        rng.normal(0, 3, (200, _D)).astype(np.float32), np.repeat([*"abcde"], 40), rank=8
    )


@pytest.fixture(scope="module")
def suites(photos: EmbeddedPhotos, space: EmbeddingSpace) -> tuple[SuiteResult, ...]:
    return evaluate_teaching(photos, space, episodes=2)


def test_taught_models_are_compared_with_both_baselines(
    suites: tuple[SuiteResult, ...], tmp_path: Path
) -> None:
    assert [(each.suite, each.classes, each.photos) for each in suites] == [
        ("apart", 5, 5),
        ("apart", 10, 10),
        ("alike", 5, 5),
        ("alike", 10, 10),
    ]
    for each in suites:
        assert each.episodes == 2
        assert each.taught.mean > 0.95
        assert each.nearest_mean.mean > 0.95
        assert each.teachable_machine.mean < 0.6
        assert each.fewer_errors.low > 0
        assert each.auroc.mean > 0.9
    results = TeachingResults(
        base="base", sha256="0" * 64, command="tensight evaluate-teaching", date="x", suites=suites
    )
    write_teaching(tmp_path, results)
    assert read_teaching(tmp_path) == results
    page = results_page([], None, {}, results)
    assert f"| apart | 5 × 5 | {suites[0].taught.mean:.4f}" in page
    targets = [line for line in page.splitlines() if line.startswith("| target |")]
    assert targets == [
        "| target | | at least 0.975 | | | above 0 | at least 0.93 |  |",
        "| target | | at least 0.98 | | | above 0 | at least 0.93 | at most 0.06 |",
        "| target | | at least 0.95 | | | above 0 | at least 0.85 |  |",
        "| target | | at least 0.92 | | | above 0 | at least 0.85 | at most 0.06 |",
    ]
    assert "the base was chosen among two by its accuracy on those of `apart`" in page


def test_same_photos_give_the_same_results(
    photos: EmbeddedPhotos, space: EmbeddingSpace, suites: tuple[SuiteResult, ...]
) -> None:
    assert evaluate_teaching(photos, space, episodes=2) == suites
