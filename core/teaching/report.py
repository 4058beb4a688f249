"""Report on a taught model, from cross-validation on its photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import (
    ClassMetrics,
    Misclassification,
    ProportionEstimate,
    SplitMetrics,
    TaughtMetrics,
)
from core.errors import TeachingError
from core.inference.reliability import ece, fit_unsure_threshold, log_loss, reliability
from core.teaching.collect import SkippedPhoto
from core.teaching.learning import LearnedHead
from core.teaching.stored_examples import StoredExamples

__all__ = ["DoubtfulPhoto", "Findings", "TeachingReport", "check_distinguishable", "evaluate_head"]

_MAX_MISTAKES = 20
# A photo is doubtful where another class is this much more probable than its own.
_DOUBTFUL_ODDS = 9.0
_WEAK_RECALL = 0.9
_MIN_PHOTOS_FOR_RECALL = 5
# Relative to the mean length of the embeddings. Even two photos of one object differ by tenths.
_MAX_SAME_DISTANCE = 0.01


@dataclass(frozen=True)
class DoubtfulPhoto:
    """A photo that may be in the wrong class.

    Attributes:
        name: Name shown to people.
        label: Its class.
        looks_like: The class predicted by a model that was taught without it.
        confidence: Probability of that class, 0 to 1.
    """

    name: str
    label: str
    looks_like: str
    confidence: float


@dataclass(frozen=True)
class TeachingReport:
    """Quality of a taught model, and advice on its photos.

    Attributes:
        classes: Names of the classes.
        photos: Number of photos of each class.
        accuracy: Share of the photos that a model taught without them classifies correctly, with
            its 95% interval.
        recall: The same for each class.
        confusion: Number of photos by class (rows) and predicted class (columns).
        doubtful: Photos that may be in the wrong class, the most doubtful ones first.
        weak: Classes with a recall below 90% or fewer than five photos, which need more photos.
        skipped: Photos that could not be read.
        duplicates: Number of exact duplicates, which were left out.
    """

    classes: tuple[str, ...]
    photos: tuple[int, ...]
    accuracy: ProportionEstimate
    recall: tuple[ProportionEstimate, ...]
    confusion: tuple[tuple[int, ...], ...]
    doubtful: tuple[DoubtfulPhoto, ...]
    weak: tuple[str, ...]
    skipped: tuple[SkippedPhoto, ...] = ()
    duplicates: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return {
            "classes": list(self.classes),
            "photos": dict(zip(self.classes, self.photos, strict=True)),
            "accuracy": self.accuracy.model_dump(mode="json"),
            "recall": {
                name: each.model_dump(mode="json")
                for name, each in zip(self.classes, self.recall, strict=True)
            },
            "confusion": [list(row) for row in self.confusion],
            "doubtful": [asdict(each) for each in self.doubtful],
            "weak": list(self.weak),
            "skipped": [asdict(each) for each in self.skipped],
            "duplicates": self.duplicates,
        }


@dataclass(frozen=True)
class Findings:
    """Evaluation of a taught head: a report for people, and metrics for its model folder.

    Attributes:
        report: Shown to people.
        split: Results of cross-validation, as metrics.json has them.
        taught: Their summary, with the numbers of photos that the head was taught with.
        unsure_below: Threshold of the verdict `unsure`.
    """

    report: TeachingReport
    split: SplitMetrics
    taught: TaughtMetrics
    unsure_below: float


def check_distinguishable(examples: StoredExamples) -> None:
    """Check that the classes have distinguishable photos, by their unchanged views.

    Raises:
        TeachingError: All photos of a class look the same, or each photo of a class looks like one
            of another class and the other way round.
    """
    unchanged = examples.embeddings[:, 0].astype(np.float32)
    lengths = np.maximum(np.linalg.norm(unchanged, axis=1, keepdims=True), 1e-12)
    groups = [unchanged[examples.labels == i] for i in range(len(examples.classes))]
    mean = float(lengths.mean())
    identical = [
        name
        for name, group in zip(examples.classes, groups, strict=True)
        if len(group) and _max_distance(group) < _MAX_SAME_DISTANCE * mean
    ]
    if identical:
        raise TeachingError(
            "alike",
            f"All photos of {', '.join(map(repr, identical))} look the same. Add photos that show "
            "it in other places, from other sides or in other light.",
            *identical,
        )
    for i, first in enumerate(groups):
        for j in range(i):
            if (
                len(first)
                and len(groups[j])
                and _are_copies(first, groups[j], _MAX_SAME_DISTANCE * mean)
            ):
                raise TeachingError(
                    "copy",
                    f"The photos of {examples.classes[j]!r} and {examples.classes[i]!r} look the "
                    "same. Remove one of the classes, or give it photos of its own.",
                    examples.classes[j],
                    examples.classes[i],
                )


def evaluate_head(
    examples: StoredExamples,
    learned: LearnedHead,
    *,
    names: Sequence[str] | None = None,
    skipped: Sequence[SkippedPhoto] = (),
    duplicates: int = 0,
) -> Findings:
    """Evaluate a head by the cross-validation that it was learned with.

    Args:
        examples: The photos that the head was taught with.
        learned: The head, with its predictions from cross-validation.
        names: Names of the photos shown to people; None to number them.
        skipped: Photos that could not be read.
        duplicates: Number of exact duplicates that were left out.
    """
    labels, probabilities = examples.labels, learned.probabilities
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    k = len(examples.classes)
    confusion = np.zeros((k, k), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    names = [f"photo {i + 1}" for i in range(len(labels))] if names is None else names
    accuracy = ProportionEstimate.of(int(right.sum()), len(labels))
    recall = tuple(
        ProportionEstimate.of(int(row[i]), int(row.sum())) for i, row in enumerate(confusion)
    )
    weak = tuple(
        name
        for name, each in zip(examples.classes, recall, strict=True)
        if each.share < _WEAK_RECALL or each.n < _MIN_PHOTOS_FOR_RECALL
    )
    label_probability = probabilities[np.arange(len(labels)), labels]
    doubtful = np.flatnonzero(confidence > _DOUBTFUL_ODDS * label_probability)
    doubtful = doubtful[np.argsort(-confidence[doubtful], kind="stable")]
    unsure_below = fit_unsure_threshold(confidence, right, np.ones(len(labels)), min_accepted=1)
    is_none = learned.known_scores < learned.none_below
    report = TeachingReport(
        examples.classes,
        tuple(int(n) for n in confusion.sum(axis=1)),
        accuracy,
        recall,
        tuple(tuple(int(n) for n in row) for row in confusion),
        tuple(
            DoubtfulPhoto(
                names[int(i)],
                examples.classes[labels[i]],
                examples.classes[predicted[i]],
                float(confidence[i]),
            )
            for i in doubtful
        ),
        weak,
        tuple(skipped),
        duplicates,
    )
    taught = TaughtMetrics(
        photos=report.photos,
        views=examples.embeddings.shape[1],
        accuracy=accuracy,
        none=ProportionEstimate.of(int(is_none.sum()), len(labels)),
        doubtful=len(doubtful),
        weak=weak,
    )
    unsure = ~is_none & (confidence < unsure_below)
    split = _split_metrics(examples, probabilities, confusion, is_none, unsure)
    return Findings(report, split, taught, unsure_below)


def _split_metrics(
    examples: StoredExamples,
    probabilities: NDArray[np.float64],
    confusion: NDArray[np.int64],
    is_none: NDArray[np.bool_],
    unsure: NDArray[np.bool_],
) -> SplitMetrics:
    labels = examples.labels
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    classes = _class_metrics(examples.classes, confusion)
    bins = reliability(confidence, right)
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MAX_MISTAKES]
    return SplitMetrics(
        data=f"cross-validation on the {len(labels):,} photos that it was taught with",
        n=len(labels),
        accuracy=float(right.mean()),
        precision=float(np.mean([each.precision for each in classes])),
        recall=float(np.mean([each.recall for each in classes])),
        f1=float(np.mean([each.f1 for each in classes])),
        log_loss=log_loss(probabilities, labels),
        ece=min(1.0, ece(bins)),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        reliability=bins,
        verdicts={
            "known": int((~is_none & ~unsure).sum()),
            "unsure": int(unsure.sum()),
            "none": int(is_none.sum()),
        },
        mistakes=tuple(
            Misclassification(
                row=int(i),
                label=examples.classes[labels[i]],
                answer=examples.classes[predicted[i]],
                confidence=float(confidence[i]),
            )
            for i in worst
        ),
    )


def _class_metrics(names: Sequence[str], confusion: NDArray[np.int64]) -> tuple[ClassMetrics, ...]:
    hits, support = confusion.diagonal(), confusion.sum(axis=1)
    precision = hits / np.maximum(confusion.sum(axis=0), 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return tuple(
        ClassMetrics(label=name, precision=float(p), recall=float(r), f1=float(f), support=int(n))
        for name, p, r, f, n in zip(names, precision, recall, f1, support, strict=True)
    )


def _max_distance(group: NDArray[np.float32]) -> float:
    """Return the largest distance of a row from the first one."""
    return float(np.linalg.norm(group - group[0], axis=1).max())


def _are_copies(first: NDArray[np.float32], second: NDArray[np.float32], distance: float) -> bool:
    """Return whether each row of either array is within a distance of one of the other."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    near = np.maximum(squares, 0) < distance**2
    return bool(near.any(axis=1).all() and near.any(axis=0).all())
