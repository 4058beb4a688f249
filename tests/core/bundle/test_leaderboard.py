"""Comparison of models, and the selection of the out-of-distribution method."""

from __future__ import annotations

from typing import Any

from core.bundle.leaderboard import OOD_METHODS, best_method
from core.bundle.metrics import OodMetrics


def test_method_with_stored_embeddings_must_be_clearly_better() -> None:
    def found(**areas: float) -> OodMetrics:
        auroc = dict.fromkeys(OOD_METHODS, 0.5) | areas
        about: dict[str, Any] = {"known": "a", "none": "b", "n_known": 1, "n_none": 1}
        about |= {"fpr95": auroc, "known_told_none": 0.0, "none_told_none": 0.0}
        return OodMetrics(auroc=auroc, **about)

    assert best_method([found(gen=0.9, knn=0.904)]) == "gen"
    assert best_method([found(gen=0.9, knn=0.906)]) == "knn"
    assert best_method([found(gen=0.9, energy=0.901), found(gen=0.8)]) == "gen"
    assert best_method([found()]) == "max_softmax", "of equal ones the first"
