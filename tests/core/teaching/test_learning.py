"""Learning in a worker process."""

from __future__ import annotations

import subprocess
from typing import Any

import numpy as np
import pytest

from core.errors import TeachingError
from core.teaching.learning import learn
from core.teaching.stored_examples import StoredExamples
from tests.support.taught import learn_here, random_space

FEATURES = 24


def clusters(views: int = 2) -> StoredExamples:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4)
    directions = rng.normal(size=(3, FEATURES))
    embeddings = directions[labels][:, None] + 0.3 * rng.normal(size=(12, views, FEATURES))
    nothing = np.zeros((12, 16), np.uint8)
    return StoredExamples(
        ("a", "b", "c"), embeddings.astype(np.float16), labels, nothing, nothing, "0" * 64
    )


def test_worker_learns_the_same_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSIGHT_TELEGRAM_TOKEN", "a secret")
    examples, space = clusters(), random_space(FEATURES)
    there, here = learn(examples, space), learn_here(examples, space)
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-6)
    np.testing.assert_allclose(there.known_scores, here.known_scores, atol=1e-6)
    assert there.temperature == pytest.approx(here.temperature, rel=1e-5)
    assert there.none_below == pytest.approx(here.none_below, abs=1e-6)


def test_worker_learns_in_a_single_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    run, environments = subprocess.run, []

    def recorded(*args: Any, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
        environments.append(kwargs["env"])
        return run(*args, **kwargs)

    monkeypatch.setattr(subprocess, "run", recorded)
    learn(clusters(), random_space(FEATURES))
    (environment,) = environments
    # On a busy machine, more threads take minutes instead of seconds.
    assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "1"


def test_worker_that_takes_too_long_is_ended() -> None:
    with pytest.raises(TeachingError, match=r"did not finish within 0\.01 s") as told:
        learn(clusters(), random_space(FEATURES), timeout_s=0.01)
    assert told.value.reason == "failed"


def test_worker_failure_is_reported() -> None:
    # The space has another number of features.
    with pytest.raises(TeachingError, match=r"Learning failed: .*has shape"):
        learn(clusters(), random_space(FEATURES + 1))
