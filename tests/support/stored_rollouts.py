"""Rollouts and comparisons in the database, for the tests of its tables."""

from __future__ import annotations

from core.store.rollout_evidence import AnswerSummary, Comparison
from core.store.rollouts import Rollout
from core.store.store import Store

__all__ = ["SCORES", "begin", "comparison"]

SCORES = {"cat": 0.9, "dog": 0.1}
"""Scores of an answer."""


def begin(store: Store, model: str = "a") -> Rollout:
    """Begin a canary of a model and return it."""
    return store.rollouts.begin(model, "canary", candidate="2", live="1", share=0.1, slow_ms=20.0)


def comparison(answer: str) -> Comparison:
    """Return the comparison of two equal answers, with the digest `answer`."""
    said = AnswerSummary("cat", "known", 0.9, 0.8, 3.0)
    return Comparison(answer, said, said)
