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

__all__ = ["DoubtfulPhoto", "Findings", "TeachingReport", "refuse_alike", "report_on"]

_MAX_MISTAKES = 20
# A photo is doubtful where another class is this much more probable than its own.
_DOUBTFUL_ODDS = 9.0
_WEAK_RECALL = 0.9
_MIN_PHOTOS_FOR_SURE = 5
# Distance of two embeddings, relative to their length. Two photos of one thing differ by tenths.
_SAME = 0.01


@dataclass(frozen=True)
class DoubtfulPhoto:
    """A photo that may be in the wrong class.

    Attributes:
        name: What people know it by.
        label: Its class.
        looks_like: The class that it is taken for by a model taught without it.
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
        recall: The same by class.
        confusion: Number of photos by class and by the class that they are taken for.
        doubtful: Photos that may be in the wrong class, the most doubtful ones first.
        weak: Classes that need more photos.
        skipped: Photos that could not be read.
        duplicates: Number of photos that were there twice, and counted once.
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
    """The report for people, and its figures as a model folder holds them.

    Attributes:
        report: For people.
        split: Results of cross-validation.
        taught: The same in short, with the photos that it was taught with.
        unsure_below: Threshold of the verdict `unsure`.
    """

    report: TeachingReport
    split: SplitMetrics
    taught: TaughtMetrics
    unsure_below: float


def refuse_alike(examples: StoredExamples) -> None:
    """Refuse photos that cannot be told apart, by their unchanged view.

    Raises:
        TeachingError: All photos of a class look the same, or each photo of a class looks like one
            of another class and the other way round.
    """
    plain = examples.embeddings[:, 0].astype(np.float32)
    lengths = np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12)
    groups = [plain[examples.labels == i] for i in range(len(examples.classes))]
    mean = float(lengths.mean())
    alike = [
        name
        for name, group in zip(examples.classes, groups, strict=True)
        if len(group) and _farthest(group) < _SAME * mean
    ]
    if alike:
        raise TeachingError(
            "alike",
            f"All photos of {', '.join(map(repr, alike))} look the same. Add photos that show it "
            "in other places, from other sides or in other light.",
            *alike,
        )
    for i, first in enumerate(groups):
        for j in range(i):
            if len(first) and len(groups[j]) and _is_copy(first, groups[j], _SAME * mean):
                raise TeachingError(
                    "copy",
                    f"The photos of {examples.classes[j]!r} and {examples.classes[i]!r} look the "
                    "same. Remove one of the classes, or give it photos of its own.",
                    examples.classes[j],
                    examples.classes[i],
                )


def report_on(
    examples: StoredExamples,
    learned: LearnedHead,
    *,
    names: Sequence[str] | None = None,
    skipped: Sequence[SkippedPhoto] = (),
    duplicates: int = 0,
) -> Findings:
    """Evaluate a head by the cross-validation that it was learned with.

    Args:
        examples: What it was taught with.
        learned: The head.
        names: What people know the photos by; None for their numbers.
        skipped: Photos that could not be read.
        duplicates: Number of photos that were there twice.
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
        if each.share < _WEAK_RECALL or each.n < _MIN_PHOTOS_FOR_SURE
    )
    own = probabilities[np.arange(len(labels)), labels]
    doubtful = np.flatnonzero(confidence > _DOUBTFUL_ODDS * own)
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
    split = _split(examples, probabilities, confusion, is_none, unsure)
    return Findings(report, split, taught, unsure_below)


def _split(
    examples: StoredExamples,
    probabilities: NDArray[np.float64],
    confusion: NDArray[np.int64],
    is_none: NDArray[np.bool_],
    unsure: NDArray[np.bool_],
) -> SplitMetrics:
    labels = examples.labels
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == labels
    classes = _by_class(examples.classes, confusion)
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


def _by_class(names: Sequence[str], confusion: NDArray[np.int64]) -> tuple[ClassMetrics, ...]:
    hits, support = confusion.diagonal(), confusion.sum(axis=1)
    precision = hits / np.maximum(confusion.sum(axis=0), 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return tuple(
        ClassMetrics(label=name, precision=float(p), recall=float(r), f1=float(f), support=int(n))
        for name, p, r, f, n in zip(names, precision, recall, f1, support, strict=True)
    )


def _farthest(group: NDArray[np.float32]) -> float:
    """Return the largest distance of a row from the first one."""
    return float(np.linalg.norm(group - group[0], axis=1).max())


def _is_copy(first: NDArray[np.float32], second: NDArray[np.float32], distance: float) -> bool:
    """Return whether each row of either array is within a distance of one of the other."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    near = np.maximum(squares, 0) < distance**2
    return bool(near.any(axis=1).all() and near.any(axis=0).all())
