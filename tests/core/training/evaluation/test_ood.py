"""Out-of-distribution methods, comparison and threshold."""

from __future__ import annotations

import numpy as np
import pytest

from core.bundle.config import VerdictMethod
from core.bundle.leaderboard import OOD_METHODS, best_method
from core.inference.engine import Outputs
from core.inference.known_score import OodParams
from core.registry.catalog import Catalog
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import ModelOutputs, run_inference
from core.training.evaluation.ood import (
    compare_methods,
    downscale,
    fit_none_threshold,
    fit_ood_params,
    subsample,
)

RNG = np.random.default_rng(0)


def test_compare_methods_covers_every_method(catalog: Catalog, ships: Split) -> None:
    classifier = catalog.load("classic")
    arrays = fit_ood_params(classifier, ships)
    assert set(arrays) == set(OOD_METHODS) - {"probe"}, "which needs a head of its own"
    known = run_inference(classifier, ships.images, "ships")
    none = run_inference(classifier, RNG.integers(0, 256, (30, 64, 64, 3), np.uint8), "noise")
    found = compare_methods(known, none, classifier.config, arrays)
    assert (found.known, found.n_known, found.none, found.n_none) == ("ships", 40, "noise", 30)
    assert set(found.auroc) == set(found.fpr95) == set(OOD_METHODS) - {"probe"}
    # Each image is its own nearest neighbour.
    assert found.auroc["knn"] == pytest.approx(1)
    assert found.fpr95["knn"] == 0
    assert best_method([found]) in OOD_METHODS


def test_fdbd_distances_come_from_the_last_layer(catalog: Catalog) -> None:
    classifier = catalog.load("classic")
    images = RNG.integers(0, 256, (400, 32, 32, 3), np.uint8)
    outputs = run_inference(classifier, images, "noise").outputs
    rows = Split(images, np.zeros(400, np.int64), np.arange(400))
    distances = fit_ood_params(classifier, rows)["fdbd"]["distances"]
    assert distances.shape == (10, 10)
    assert np.allclose(distances, distances.T)
    assert np.diag(distances) == pytest.approx(np.zeros(10))
    # No step in the embedding changes the difference of two logits by more than its length says.
    steps = np.linalg.norm(outputs.embedding[1:] - outputs.embedding[:-1], axis=1)
    differences = outputs.logits[:, 0] - outputs.logits[:, 1]
    assert (np.abs(np.diff(differences)) <= 1.05 * distances[0, 1] * steps + 0.05).all()


def test_compare_methods_matches_manual_calculation(catalog: Catalog) -> None:
    def group(scores: list[float]) -> ModelOutputs:
        logits = np.stack([scores, np.zeros(len(scores))], axis=1).astype(np.float32)
        return ModelOutputs("", Outputs(logits, np.zeros((len(scores), 2), np.float32)))

    arrays: dict[VerdictMethod, OodParams] = {
        **{method: {} for method in OOD_METHODS},
        "knn": {"axes": np.eye(2), "neighbours": np.eye(2).repeat(6, 0)},
        "fdbd": {"distances": np.ones((2, 2)), "center": np.ones(2)},
        "probe": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)},
    }
    verdict = catalog.bundle("classic").config.verdict.model_copy(
        update={"method": "energy", "none_below": float(np.log(np.e**0.8 + 1))}
    )
    config = catalog.bundle("classic").config.model_copy(
        update={"temperature": 1.0, "exponent": 1.0, "verdict": verdict}
    )
    found = compare_methods(group([1.0, 2.0, 3.0]), group([0.5, 2.5]), config, arrays)
    # Of six pairs the known one is higher in four.
    assert found.auroc["max_softmax"] == found.auroc["energy"] == pytest.approx(4 / 6)
    assert found.fpr95["energy"] == 0.5
    assert (found.known_told_none, found.none_told_none) == (0, 0.5)


def test_none_threshold_rejects_at_most_a_twentieth_of_each_group() -> None:
    few, many = np.linspace(0, 1, 100), np.linspace(10, 11, 10_000)
    assert fit_none_threshold([few, many]) == pytest.approx(0.05, abs=0.01)
    assert fit_none_threshold([many]) == pytest.approx(10.05, abs=0.001)
    # Outliers that score like the known images do not raise the rate.
    assert fit_none_threshold([few, many], few) == fit_none_threshold([few, many])


def test_none_threshold_is_at_the_equal_error_rate() -> None:
    rng = np.random.default_rng(0)
    known, outliers = rng.normal(5, 1, 10_000), rng.normal(0, 1, 5_000)
    threshold = fit_none_threshold([known, known + 1], outliers)
    assert threshold == pytest.approx(2.5, abs=0.1)
    assert (known < threshold).mean() == pytest.approx((outliers >= threshold).mean(), abs=1e-3)


def test_images_are_downscaled_and_subsampled_evenly(catalog: Catalog, ships: Split) -> None:
    assert downscale(catalog.load("classic"), ships.images).shape == (40, 32, 32, 3)
    assert len(subsample(ships, 7)) == 7
    assert np.array_equal(subsample(ships, 7)[-1], ships.images[-1])
    assert subsample(ships) is ships.images
