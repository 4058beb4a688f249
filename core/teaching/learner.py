"""Learn a classification head for new classes from the embeddings of a few photos of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from core.inference.head import EmbeddingSpace, Head
from core.teaching.examples import Examples

__all__ = ["TaughtHead", "teach_head"]

_FOLDS = 5
_MAX_DIMENSIONS = 256
# Relative to the largest eigenvalue: directions below it are rounding errors.
_MIN_EIGENVALUE = 1e-12
# Candidates for `C` of scikit-learn's LogisticRegression, for one view of each photo.
_STRENGTHS = (3.0, 30.0, 300.0)
# Weight of the cosine similarity to the class centers, which is added to the logits of the
# regression. It and the strengths were chosen on teaching episodes with CIFAR-10's ten classes.
_CENTER_WEIGHT = 20.0
_ACCEPTED_FRACTION = 0.95
_MAX_ITERATIONS = 1000
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True, eq=False)
class TaughtHead:
    """A head with its calibration and its cross-validated predictions.

    Attributes:
        head: Head learned from all photos.
        temperature: Divisor of the logits that minimises the cross-validated log loss, 0.05 to 20.
        none_below: Value of `Head.known_scores` below which the verdict is `none`: 95% of the
            held-out photos lie above it.
        probabilities: Probabilities of each photo's classes by a head that was learned without it,
            calibrated with `temperature`; shape (n, k), in the order of the examples.
        known_scores: `Head.known_scores` of each photo by a head that was learned without it, shape
            (n,), in the order of the examples.
        strength: Inverse regularisation strength of the logistic regression, one of `_STRENGTHS`.
    """

    head: Head
    temperature: float
    none_below: float
    probabilities: NDArray[np.float64]
    known_scores: NDArray[np.float64]
    strength: float


def teach_head(examples: Examples, space: EmbeddingSpace) -> TaughtHead:
    """Learn a head: a regularised logistic regression plus the similarity to the class centers.

    Regularisation, temperature and threshold follow from one stratified cross-validation, whose
    folds hold all views of a photo together. The result does not depend on the order of the photos.

    Args:
        examples: The photos.
        space: Projection of the base model's embeddings.
    """
    order = _canonical_order(examples)
    ordered = examples.take(order)
    n, views, features = ordered.embeddings.shape
    projected = space.project(ordered.embeddings.reshape(n * views, features))
    projected = projected.reshape(n, views, features)
    folds = list(_folds(ordered.labels))
    held_out = _cross_validate(projected, ordered.labels, folds)
    losses = {
        strength: _best_temperature(logits, ordered.labels)[1]
        for strength, (logits, _) in held_out.items()
    }
    strength = min(losses, key=lambda each: (losses[each], each))
    logits, similarities = held_out[strength]
    temperature, _ = _best_temperature(logits, ordered.labels)
    probabilities = np.empty_like(logits)
    probabilities[order] = _softmax(logits / temperature)
    known_scores = np.empty_like(similarities)
    known_scores[order] = similarities
    ((weights, bias, centers),) = _fit_heads(projected, ordered.labels, (strength,))
    return TaughtHead(
        Head(space, weights, bias, centers),
        temperature,
        float(np.quantile(similarities, 1 - _ACCEPTED_FRACTION)),
        probabilities,
        known_scores,
        strength,
    )


def _canonical_order(examples: Examples) -> NDArray[np.int64]:
    """Return an order of the photos that depends on their content alone."""
    keys = [
        (int(label), embedding.tobytes())
        for label, embedding in zip(examples.labels, examples.embeddings, strict=True)
    ]
    return np.asarray(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _folds(
    labels: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield stratified folds: rows to learn from, and rows that are held out."""
    count = min(_FOLDS, int(np.bincount(labels).min()))
    splitter = StratifiedKFold(count, shuffle=True, random_state=0)
    yield from splitter.split(np.zeros(len(labels)), labels)


def _cross_validate(
    projected: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Classify each photo by heads learned without it.

    Returns:
        For each of `_STRENGTHS`, logits of shape (n, k) and similarities of shape (n,).
    """
    n, k = len(labels), int(labels.max()) + 1
    results = {strength: (np.empty((n, k)), np.empty(n)) for strength in _STRENGTHS}
    for train, held_out in folds:
        unchanged = projected[held_out, 0]
        fitted = _fit_heads(projected[train], labels[train], _STRENGTHS)
        for strength, (weights, bias, centers) in zip(_STRENGTHS, fitted, strict=True):
            logits, similarities = results[strength]
            logits[held_out] = unchanged @ weights + bias
            similarities[held_out] = (unchanged @ centers.T).max(axis=1)
    return results


def _fit_heads(
    projected: NDArray[np.float32], labels: NDArray[np.int64], strengths: Sequence[float]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Return weights (d, k), bias (k,) and class centers (k, d) for each strength, in order.

    Each regression is warm-started from the one before, which saves most of its iterations.
    """
    n, views, features = projected.shape
    rows = projected.reshape(n * views, features).astype(np.float64)
    view_labels = np.repeat(labels, views)
    classes = int(labels.max()) + 1
    centers = np.stack([rows[view_labels == label].mean(axis=0) for label in range(classes)])
    centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    basis = _principal_axes(rows)
    reduced = rows @ basis.T
    regression = LogisticRegression(max_iter=_MAX_ITERATIONS, warm_start=True)
    heads = []
    for strength in strengths:
        regression.set_params(C=strength / views)
        regression.fit(reduced, view_labels)
        kernel, bias = regression.coef_, regression.intercept_
        if classes == 2:  # scikit-learn has a single row of coefficients then
            kernel, bias = np.concatenate([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
        weights = (kernel @ basis).T + _CENTER_WEIGHT * centers.T
        heads.append(
            (weights.astype(np.float32), bias.astype(np.float32), centers.astype(np.float32))
        )
    return heads


def _principal_axes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the leading right singular vectors of the examples, at most 256, shape (r, d).

    The weights of the regression lie in the span of the examples, so up to 256 of them lose nothing
    by this reduction. The eigenvectors of the smaller Gram matrix are faster than the singular
    value decomposition.
    """
    n, features = rows.shape
    gram = rows @ rows.T if n < features else rows.T @ rows
    size = len(gram)
    values, vectors = eigh(gram, subset_by_index=(max(0, size - _MAX_DIMENSIONS), size - 1))
    kept = values > values[-1] * _MIN_EIGENVALUE
    values, vectors = values[kept], vectors[:, kept]
    if n < features:
        return np.asarray((vectors / np.sqrt(values)).T @ rows)
    return np.asarray(vectors.T)


def _best_temperature(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the temperature with the least log loss, and that loss in nats."""

    def loss(log_temperature: float) -> float:
        scores = _softmax(logits / np.exp(log_temperature))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(scores, 1e-300)).mean())

    low, high = np.log(_TEMPERATURES)
    minimum = minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(minimum.x)), float(minimum.fun)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
