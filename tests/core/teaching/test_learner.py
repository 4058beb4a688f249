"""Learning a head from a few embeddings of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from core.inference.head import EmbeddingSpace
from core.teaching.examples import Examples
from core.teaching.learner import teach_head
from core.teaching.space import fit_space

FEATURES = 40


def clusters(
    classes: int,
    each: int,
    *,
    views: int = 1,
    seed: int = 0,
    noise: float = 0.6,
    features: int = FEATURES,
) -> Examples:
    """Return embeddings around one random direction for each class."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(classes, features))
    labels = np.repeat(np.arange(classes), each)
    embeddings = directions[labels][:, None] + noise * rng.normal(
        size=(len(labels), views, features)
    )
    return Examples(embeddings.astype(np.float32), labels)


@pytest.fixture(scope="module")
def space() -> EmbeddingSpace:
    many = clusters(30, 10, seed=5)
    kinds = np.asarray([f"kind {label}" for label in many.labels])
    return fit_space(many.embeddings[:, 0], kinds, rank=8)


@pytest.mark.parametrize("classes", [2, 5])
def test_new_photos_of_taught_classes_are_recognised(space: EmbeddingSpace, classes: int) -> None:
    taught = teach_head(clusters(classes, 5), space)
    new = clusters(classes, 20, seed=1)
    logits = taught.head.logits(new.embeddings[:, 0])
    assert (logits.argmax(axis=1) == new.labels).mean() > 0.95


def test_other_things_score_lower_than_taught_classes(space: EmbeddingSpace) -> None:
    taught = teach_head(clusters(3, 8), space)
    new = taught.head.known_scores(clusters(3, 20, seed=1).embeddings[:, 0])
    other = np.random.default_rng(7).normal(size=(60, FEATURES)).astype(np.float32)
    assert (new > taught.none_below).mean() > 0.8
    assert (taught.head.known_scores(other) > taught.none_below).mean() < 0.2


def test_probabilities_are_those_of_held_out_photos(space: EmbeddingSpace) -> None:
    examples = clusters(3, 6)
    rng = np.random.default_rng(3)
    shuffled = Examples(examples.embeddings, rng.permutation(examples.labels))
    taught = teach_head(shuffled, space)
    np.testing.assert_allclose(taught.probabilities.sum(axis=1), 1)
    # Random labels can be memorised, but not predicted.
    assert (taught.probabilities.argmax(axis=1) == shuffled.labels).mean() < 0.7
    assert taught.probabilities.max(axis=1).mean() < 0.7


def test_order_of_the_photos_does_not_change_the_head(space: EmbeddingSpace) -> None:
    examples = clusters(4, 5, views=2)
    order = np.random.default_rng(0).permutation(len(examples.labels))
    first, second = teach_head(examples, space), teach_head(examples.take(order), space)
    np.testing.assert_array_equal(first.head.weights, second.head.weights)
    np.testing.assert_array_equal(first.probabilities[order], second.probabilities)
    assert (first.temperature, first.none_below) == (second.temperature, second.none_below)


def test_more_examples_than_dimensions_are_accepted(space: EmbeddingSpace) -> None:
    taught = teach_head(clusters(2, 150), space)
    assert taught.head.weights.shape == (FEATURES, 2)


@pytest.mark.parametrize(("each", "views", "features"), [(70, 2, 260), (10, 1, 30)])
def test_regression_has_at_most_256_dimensions(
    monkeypatch: pytest.MonkeyPatch, each: int, views: int, features: int
) -> None:
    dimensions = []
    fit = LogisticRegression.fit

    def record(regression: Any, rows: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
        dimensions.append(rows.shape[1])
        return fit(regression, rows, labels)

    kinds = clusters(10, 40, features=features, seed=5)
    names = np.asarray([f"kind {label}" for label in kinds.labels])
    space = fit_space(kinds.embeddings[:, 0], names, rank=8)
    monkeypatch.setattr(LogisticRegression, "fit", record)
    taught = teach_head(clusters(2, each, views=views, features=features), space)
    assert max(dimensions) == min(256, 2 * each * views, features)
    assert taught.head.weights.shape == (features, 2)
    assert (taught.probabilities.argmax(axis=1) == np.repeat([0, 1], each)).all()
