"""Figures on real photos: accuracy, and how well other things are told from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from core.bundle.metrics import Estimate, RealPhotoFigures, SourceFigures
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.calibrate import ece, reliability
from core.training.evaluation.ood import scores_of, watch

__all__ = ["PhotoAnswers", "answer_photos", "estimate", "photo_figures"]

_QUANTILE = 0.05
_FEW = 5


@dataclass(frozen=True, eq=False)
class PhotoAnswers:
    """What a model gave on photos.

    Attributes:
        photos: The photos.
        labels: The label of each that the model finds likeliest, shape (n,), int64.
        scores: Higher for photos of the labels, shape (n,), float64.
        confidences: Calibrated, shape (n,), 0 to 1; None for a model without calibration.
    """

    photos: RealPhotos
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidences: NDArray[np.float64] | None = None


def answer_photos(classifier: Classifier, photos: RealPhotos) -> PhotoAnswers:
    """Run a model on photos.

    Args:
        classifier: The model.
        photos: At least one.
    """
    outputs = watch(classifier, photos.images, "real photos").outputs
    config = classifier.config
    return PhotoAnswers(
        photos,
        outputs.logits.argmax(axis=1).astype(np.int64),
        scores_of(config.verdict.method, outputs, config, classifier.arrays),
        confidences(outputs.logits, config),
    )


def photo_figures(
    answers: PhotoAnswers, kept_back: PhotoAnswers, labels: tuple[str, ...], data: str
) -> RealPhotoFigures:
    """Return the figures of a model on photos.

    Args:
        answers: On photos of the labels and of other things.
        kept_back: On photos of kinds that nothing was learned from or chosen by.
        labels: Names of the labels.
        data: What the photos are, for people.
    """
    photos = answers.photos
    known = photos.known
    right = answers.labels == photos.labels
    accepted = np.quantile(answers.scores[known], _QUANTILE)
    rejected = answers.scores < accepted
    sure = answers.confidences
    kinds, counts = np.unique(photos.kinds[~known], return_counts=True)
    many = [kind for kind, count in zip(kinds.tolist(), counts, strict=True) if count >= _FEW]
    return RealPhotoFigures(
        data=data,
        accuracy=estimate(right[known]),
        recall={
            label: estimate(right[photos.labels == i])
            for i, label in enumerate(labels)
            if (photos.labels == i).any()
        },
        auroc=_auroc(answers.scores[known], answers.scores[~known]),
        n_none=int((~known).sum()),
        rejected=estimate(rejected[~known]) if (~known).any() else None,
        auroc_kept_back=_auroc(answers.scores[known], kept_back.scores),
        n_kept_back=len(kept_back.scores),
        rejected_kept_back=(
            estimate(kept_back.scores < accepted) if len(kept_back.scores) else None
        ),
        rejected_kinds={kind: estimate(rejected[photos.kinds == kind]) for kind in many},
        rejected_kept_back_kinds={
            kind: estimate(kept_back.scores[kept_back.photos.kinds == kind] < accepted)
            for kind in np.unique(kept_back.photos.kinds).tolist()
        },
        confidence=None if sure is None else float(sure[known].mean()),
        ece=None if sure is None else ece(reliability(sure[known], right[known])),
        sources=tuple(
            _of_source(answers, source, right) for source in np.unique(photos.sources).tolist()
        ),
    )


def estimate(outcomes: Sequence[bool] | NDArray[np.bool_]) -> Estimate:
    """Return the share of outcomes that are true, with its Wilson interval; at least one."""
    n, hits = len(outcomes), int(np.sum(outcomes))
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Estimate(n=n, share=hits / n, low=float(interval.low), high=float(interval.high))


def _of_source(answers: PhotoAnswers, source: str, right: NDArray[np.bool_]) -> SourceFigures:
    here = answers.photos.sources == source
    known, none = here & answers.photos.known, here & ~answers.photos.known
    return SourceFigures(
        source=source,
        accuracy=estimate(right[known]) if known.any() else None,
        n_none=int(none.sum()),
        auroc=_auroc(answers.scores[known], answers.scores[none]),
    )


def _auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve; None where a kind is missing."""
    if not len(inside) or not len(outside):
        return None
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
