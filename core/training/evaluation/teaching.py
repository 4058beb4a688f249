"""Evaluate teaching: episodes with a few photos of classes that the base model never saw."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from core.inference.head import EmbeddingSpace
from core.inference.reliability import ece, reliability
from core.teaching.examples import Examples
from core.teaching.learner import TaughtHead, teach_head
from core.training.data.real_photos import KEPT_BACK_KINDS
from core.training.evaluation.ood import auroc
from core.training.evaluation.teaching_results import Interval, SuiteResult

__all__ = ["ALIKE_KINDS", "EmbeddedPhotos", "evaluate_teaching"]

ALIKE_KINDS = (
    "jaguar",
    "leopard",
    "cougar",
    "lion",
    "wolf",
    "fox",
    "cow",
    "wild_boar",
    "bison",
    "zebra",
)
"""Kinds that resemble each other."""

_SUITES = {"apart": KEPT_BACK_KINDS, "alike": ALIKE_KINDS}
_SIZES = ((5, 5), (10, 10))
_EPISODES = 20
_MAX_TEST_PHOTOS = 40
# As Teachable Machine trains its image models.
_HIDDEN_UNITS = 100
_EPOCHS = 50
_BATCH_SIZE = 16
_RATE = 1e-3

Labels = NDArray[np.int64]


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
    """Rows of the photos to learn from, to test with, and of other things; and class indices."""

    learn: Labels
    learn_labels: Labels
    test: Labels
    test_labels: Labels
    others: Labels


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Accuracy of each method in one episode, and what the taught model makes of the photos."""

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
    """Teach classes of two suites, 5 with 5 photos each and 10 with 10, and test on other photos.

    With 5 classes, the remaining kinds of the suite are the other things; with 10, the kinds of the
    other suite.

    Args:
        photos: Photos of all kinds of both suites.
        space: Embedding space of the base model, fitted without photos of these kinds.
        episodes: Number of episodes of each suite and size, with a fixed seed.
        report: Called with each result.
    """
    results = []
    for suite in _SUITES:
        for classes, count in _SIZES:
            outcomes = [
                _outcome(photos, space, episode)
                for episode in _episodes(photos.kinds, suite, classes, count, episodes)
            ]
            results.append(_summary(suite, classes, count, outcomes))
            if report is not None:
                report(results[-1])
    return tuple(results)


def _episodes(
    kinds: NDArray[np.str_], suite: str, classes: int, count: int, episodes: int
) -> Iterator[_Episode]:
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


def _outcome(photos: EmbeddedPhotos, space: EmbeddingSpace, episode: _Episode) -> _Outcome:
    plain, truth = photos.views[:, 0], episode.test_labels
    taught = teach_head(Examples(photos.views[episode.learn], episode.learn_labels), space)
    probabilities = _probabilities(taught, plain[episode.test])
    correct = probabilities.argmax(axis=1) == truth
    inside, outside = (
        taught.head.known_scores(plain[rows]) for rows in (episode.test, episode.others)
    )
    dense = _dense(photos.mobilenet[episode.learn], episode.learn_labels)
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


def _probabilities(taught: TaughtHead, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    logits = taught.head.logits(embeddings).astype(np.float64) / taught.temperature
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _dense(embeddings: NDArray[np.float32], labels: Labels) -> MLPClassifier:
    """Train a hidden layer of 100 units for 50 epochs of Adam, without augmentation."""
    dense = MLPClassifier(
        (_HIDDEN_UNITS,),
        alpha=0.0,
        batch_size=min(_BATCH_SIZE, len(labels)),
        learning_rate_init=_RATE,
        max_iter=_EPOCHS,
        n_iter_no_change=_EPOCHS,
        random_state=0,
    )
    with warnings.catch_warnings():
        # The number of epochs is part of the method.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return dense.fit(embeddings, labels)


def _nearest_mean(
    learn: NDArray[np.float32], labels: Labels, test: NDArray[np.float32]
) -> NDArray[np.int64]:
    means = np.stack([learn[labels == label].mean(axis=0) for label in np.unique(labels)])
    distances = ((test[:, None] - means[None]) ** 2).sum(axis=2)
    return np.asarray(distances.argmin(axis=1), np.int64)


def _summary(suite: str, classes: int, count: int, outcomes: Sequence[_Outcome]) -> SuiteResult:
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
    """Return the mean with 1.96 standard errors on either side."""
    mean = float(values.mean())
    error = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    return Interval(mean=mean, low=mean - error, high=mean + error)
