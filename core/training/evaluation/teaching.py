"""Few-shot evaluation of teaching, on classes that the base model was not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from core.inference.calibration import softmax
from core.inference.head import EmbeddingSpace
from core.inference.reliability import ece, reliability
from core.teaching.examples import Examples
from core.teaching.learner import teach_head
from core.training.data.real_photos import ALIKE_KINDS, KEPT_BACK_KINDS
from core.training.evaluation.intervals import mean_interval
from core.training.evaluation.ood import auroc
from core.training.evaluation.teaching_results import Interval, SuiteResult

__all__ = ["EmbeddedPhotos", "evaluate_teaching"]

_SUITES = {"apart": KEPT_BACK_KINDS, "alike": ALIKE_KINDS}
_SIZES = ((5, 5), (10, 10))
_EPISODES = 20
_MAX_TEST_PHOTOS = 40
# The hyperparameters with which Teachable Machine trains its image models.
_HIDDEN_UNITS = 100
_EPOCHS = 50
_BATCH_SIZE = 16
_LEARNING_RATE = 1e-3

_Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EmbeddedPhotos:
    """Photos as embeddings.

    Attributes:
        views: Embeddings of each photo and its views by the base model, shape (n, v, d), float32;
            the first view is the unchanged photo.
        mobilenet: Embeddings by MobileNetV2 with ImageNet weights, shape (n, e), float32.
        kinds: What each photo shows, shape (n,).
    """

    views: NDArray[np.float32]
    mobilenet: NDArray[np.float32]
    kinds: NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class _Episode:
    """Division of the photos for one episode.

    Attributes:
        learn, test: Positions of the photos to learn from and to test on, shape (n,).
        learn_labels, test_labels: Their class indices, shape (n,).
        others: Positions of photos of none of the classes, shape (m,).
    """

    learn: _Indices
    learn_labels: _Indices
    test: _Indices
    test_labels: _Indices
    others: _Indices


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Results of one episode.

    Attributes:
        taught, teachable_machine, nearest_mean: Accuracy of each method, 0 to 1.
        auroc: Area under the ROC curve of the taught model's known_score.
        confidences: Confidences of the taught model on the test photos, shape (n,).
        correct: Whether it predicts their labels, shape (n,).
    """

    taught: float
    teachable_machine: float
    nearest_mean: float
    auroc: float
    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]


def evaluate_teaching(
    photos: EmbeddedPhotos,
    space: EmbeddingSpace,
    *,
    episodes: int = _EPISODES,
    report: Callable[[SuiteResult], None] | None = None,
) -> tuple[SuiteResult, ...]:
    """Evaluate teaching on the classes of two suites: 5 classes of 5 photos, and 10 of 10.

    The taught models are tested on other photos of their classes. Out-of-distribution photos are
    those of the other kinds of the suite or, where all ten are taught, of the other suite.

    Args:
        photos: Photos of all kinds of both suites.
        space: Embedding space of the base model, fitted without photos of these kinds.
        episodes: Number of episodes of each suite and size, at least 2; the seed is fixed.
        report: Called with each result as soon as it is there.

    Returns:
        One result for each suite and size.
    """
    results = []
    for suite in _SUITES:
        for classes, count in _SIZES:
            outcomes = [
                _run_episode(photos, space, episode)
                for episode in _episodes(photos.kinds, suite, classes, count, episodes)
            ]
            results.append(_summary(suite, classes, count, outcomes))
            if report is not None:
                report(results[-1])
    return tuple(results)


def _episodes(
    kinds: NDArray[np.str_], suite: str, classes: int, count: int, episodes: int
) -> Iterator[_Episode]:
    """Draw the classes and photos of each episode; the seed is fixed."""
    rng = np.random.default_rng(0)
    pools = {kind: np.flatnonzero(kinds == kind) for kind in _SUITES[suite]}
    (other_suite,) = (each for each in _SUITES if each != suite)
    for _ in range(episodes):
        chosen = rng.choice(sorted(pools), classes, replace=False).tolist()
        mixed = [rng.permutation(pools[kind]) for kind in chosen]
        learn = [rows[:count] for rows in mixed]
        test = [rows[count : count + _MAX_TEST_PHOTOS] for rows in mixed]
        rest = set(pools) - set(chosen) or set(_SUITES[other_suite]) - set(chosen)
        yield _Episode(
            np.concatenate(learn),
            np.repeat(np.arange(classes), count),
            np.concatenate(test),
            np.repeat(np.arange(classes), [len(rows) for rows in test]),
            np.flatnonzero(np.isin(kinds, sorted(rest))),
        )


def _run_episode(photos: EmbeddedPhotos, space: EmbeddingSpace, episode: _Episode) -> _Outcome:
    """Teach the classes of an episode by each method, and test on its photos."""
    plain, truth = photos.views[:, 0], episode.test_labels
    taught = teach_head(Examples(photos.views[episode.learn], episode.learn_labels), space)
    logits = taught.head.logits(plain[episode.test]).astype(np.float64)
    probabilities = softmax(logits / taught.temperature)
    correct = probabilities.argmax(axis=1) == truth
    inside, outside = (
        taught.head.known_scores(plain[rows]) for rows in (episode.test, episode.others)
    )
    dense = _train_dense_network(photos.mobilenet[episode.learn], episode.learn_labels)
    standard = (plain - space.mean) / space.scale
    nearest = _nearest_mean(standard[episode.learn], episode.learn_labels, standard[episode.test])
    return _Outcome(
        taught=float(correct.mean()),
        teachable_machine=float((dense.predict(photos.mobilenet[episode.test]) == truth).mean()),
        nearest_mean=float((nearest == truth).mean()),
        auroc=auroc(inside, outside),
        confidences=probabilities.max(axis=1),
        correct=correct,
    )


def _train_dense_network(embeddings: NDArray[np.float32], labels: _Indices) -> MLPClassifier:
    """Train a hidden layer of 100 units for 50 epochs of Adam, without augmentation."""
    dense = MLPClassifier(
        (_HIDDEN_UNITS,),
        alpha=0.0,
        batch_size=min(_BATCH_SIZE, len(labels)),
        learning_rate_init=_LEARNING_RATE,
        max_iter=_EPOCHS,
        n_iter_no_change=_EPOCHS,
        random_state=0,
    )
    with warnings.catch_warnings():
        # The number of epochs is part of the method.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return dense.fit(embeddings, labels)


def _nearest_mean(
    learn: NDArray[np.float32], labels: _Indices, test: NDArray[np.float32]
) -> _Indices:
    """Predict the class whose mean embedding is nearest by Euclidean distance."""
    means = np.stack([learn[labels == label].mean(axis=0) for label in np.unique(labels)])
    distances = ((test[:, None] - means[None]) ** 2).sum(axis=2)
    return np.asarray(distances.argmin(axis=1), np.int64)


def _summary(suite: str, classes: int, count: int, outcomes: Sequence[_Outcome]) -> SuiteResult:
    """Average the outcomes of the episodes of one suite and size."""
    taught = np.asarray([each.taught for each in outcomes])
    dense = np.asarray([each.teachable_machine for each in outcomes])
    bins = reliability(
        np.concatenate([each.confidences for each in outcomes]),
        np.concatenate([each.correct for each in outcomes]),
    )
    return SuiteResult(
        suite=suite,
        classes=classes,
        photos=count,
        episodes=len(outcomes),
        taught=_interval(taught),
        teachable_machine=_interval(dense),
        nearest_mean=_interval(np.asarray([each.nearest_mean for each in outcomes])),
        fewer_errors=_interval(0.75 * (1 - dense) - (1 - taught)),
        ece=ece(bins),
        auroc=_interval(np.asarray([each.auroc for each in outcomes])),
    )


def _interval(values: NDArray[np.float64]) -> Interval:
    mean, low, high = mean_interval(values)
    return Interval(mean=mean, low=low, high=high)
