from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.bundle.config import VerdictMethod
from core.bundle.leaderboard import OOD_METHODS, best_method
from core.bundle.metrics import OodMetrics
from core.inference.engine import Outputs
from core.inference.known_score import OodParams
from core.registry.catalog import Catalog
from core.training.data.datasets import Split
from core.training.evaluation.corruptions import corrupt, corruptions, measure_corruptions
from core.training.evaluation.ood import (
    ModelOutputs,
    accuracy_of,
    coarse,
    compare,
    fit_ood_params,
    run_inference,
    some,
    threshold,
)
from tests import made
from tests.support import drawings

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def ships() -> Split:
    images = np.stack([np.asarray(drawings.ship(64, 64))] * 40)
    noise = RNG.integers(-20, 20, images.shape)
    images = np.clip(images + noise, 0, 255).astype(np.uint8)
    return Split(images, np.full(40, 8), np.arange(40))


def test_every_method_compares_what_a_model_gives(catalog: Catalog, ships: Split) -> None:
    classifier = catalog.load("classic")
    arrays = fit_ood_params(classifier, ships)
    assert set(arrays) == set(OOD_METHODS) - {"probe"}, "which needs a head of its own"
    known = run_inference(classifier, ships.images, "ships")
    none = run_inference(classifier, RNG.integers(0, 256, (30, 64, 64, 3), np.uint8), "noise")
    found = compare(known, none, classifier.config, arrays)
    assert (found.known, found.n_known, found.none, found.n_none) == ("ships", 40, "noise", 30)
    assert set(found.auroc) == set(found.fpr95) == set(OOD_METHODS) - {"probe"}
    # The neighbours are the very images.
    assert found.auroc["knn"] == pytest.approx(1)
    assert found.fpr95["knn"] == 0
    assert best_method([found]) in OOD_METHODS
    assert accuracy_of(known, ships) == np.mean(known.outputs.logits.argmax(axis=1) == 8)


def test_a_method_that_needs_more_must_be_worth_it() -> None:
    def found(**areas: float) -> OodMetrics:
        auroc = dict.fromkeys(OOD_METHODS, 0.5) | areas
        about: dict[str, Any] = {"known": "a", "none": "b", "n_known": 1, "n_none": 1}
        about |= {"fpr95": auroc, "known_told_none": 0.0, "none_told_none": 0.0}
        return OodMetrics(auroc=auroc, **about)

    assert best_method([found(gen=0.9, knn=0.904)]) == "gen"
    assert best_method([found(gen=0.9, knn=0.906)]) == "knn"
    assert best_method([found(gen=0.9, energy=0.901), found(gen=0.8)]) == "gen"
    assert best_method([found()]) == "max_softmax", "of equal ones the first"


def test_the_last_layer_is_found_from_what_it_does(catalog: Catalog) -> None:
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


def test_areas_and_shares_by_hand(catalog: Catalog) -> None:
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
    found = compare(group([1.0, 2.0, 3.0]), group([0.5, 2.5]), config, arrays)
    # Of six pairs the known one is higher in four.
    assert found.auroc["max_softmax"] == found.auroc["energy"] == pytest.approx(4 / 6)
    assert found.fpr95["energy"] == 0.5
    assert (found.known_told_none, found.none_told_none) == (0, 0.5)


def test_each_group_counts_the_same_for_the_threshold() -> None:
    few, many = np.linspace(0, 1, 100), np.linspace(10, 11, 10_000)
    assert threshold([few, many]) == pytest.approx(0.1, abs=0.02)
    assert threshold([many]) == pytest.approx(10.05, abs=0.001)


def test_images_are_brought_down_and_spread_evenly(catalog: Catalog, ships: Split) -> None:
    assert coarse(catalog.load("classic"), ships.images).shape == (40, 32, 32, 3)
    assert len(some(ships, 7)) == 7
    assert np.array_equal(some(ships, 7)[-1], ships.images[-1])
    assert some(ships) is ships.images


def _state() -> list[int]:
    _, words, *_ = np.random.get_state(legacy=True)  # noqa: NPY002
    return list(map(int, words))


def test_spoiled_images_come_out_the_same_each_time(ships: Split) -> None:
    images = ships.images[:3, ::2, ::2]
    ways = corruptions()
    assert len(ways) == len(set(ways)) == 15
    state = _state()
    for way in ways:
        weak, strong = (corrupt(images, way, strength) for strength in (1, 5))
        assert weak.shape == images.shape
        assert weak.dtype == np.uint8
        assert np.array_equal(weak, corrupt(images, way, 1)), way
        far = [np.abs(each.astype(int) - images).mean() for each in (weak, strong)]
        assert min(far) > 0, way
        if way not in ("frost", "brightness", "fog"):  # which depend on the picture
            assert far[0] < far[1], way
    assert _state() == state, "others draw on as before"


def test_figures_on_spoiled_images(catalog: Catalog, made_models: object) -> None:
    split = made.dataset().test.take(np.arange(12))
    split = replace(split, labels=np.full(12, 8))
    classifiers = [catalog.load("classic"), catalog.load("baseline")]
    ways = dict(measure_corruptions(classifiers, split))
    assert list(ways) == corruptions()
    for figures in ways.values():
        assert set(figures) == {"classic", "baseline"}
        for each in figures.values():
            assert len(each.accuracy) == len(each.ece) == 5
