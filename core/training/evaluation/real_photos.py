"""Figures on real photos: accuracy, and how well other things are told from the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from core.bundle.metrics import (
    PhotoMisclassification,
    ProportionEstimate,
    RealPhotoMetrics,
    SourceMetrics,
)
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.training.data.datasets import Split
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.calibrate import cross_fitted, ece, ece_if_true, reliability
from core.training.evaluation.ood import run_inference, scores_of

__all__ = [
    "PhotoPredictions",
    "cross_fitted_ece",
    "estimate",
    "photo_metrics",
    "predict_photos",
]

_QUANTILE = 0.05
_FEW = 5


@dataclass(frozen=True, eq=False)
class PhotoPredictions:
    """What a model gave on photos.

    Attributes:
        photos: The photos.
        labels: The label of each that the model finds likeliest, shape (n,), int64.
        scores: Higher for photos of the labels, shape (n,), float64.
        confidences: Calibrated, shape (n,), 0 to 1; None for a model without calibration.
        logits: Shape (n, k), float32; None likewise.
    """

    photos: RealPhotos
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidences: NDArray[np.float64] | None = None
    logits: NDArray[np.float32] | None = None


def predict_photos(classifier: Classifier, photos: RealPhotos) -> PhotoPredictions:
    """Run a model on photos.

    Args:
        classifier: The model.
        photos: At least one.
    """
    outputs = run_inference(classifier, photos.images, "real photos").outputs
    config = classifier.config
    return PhotoPredictions(
        photos,
        outputs.logits.argmax(axis=1).astype(np.int64),
        scores_of(config.verdict.method, outputs, config, classifier.ood_params),
        confidences(outputs.logits, config),
        outputs.logits,
    )


def photo_metrics(
    answers: PhotoPredictions, kept_back: PhotoPredictions, labels: tuple[str, ...], data: str
) -> RealPhotoMetrics:
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
    bins = None if sure is None else reliability(sure[known], right[known])
    kinds, counts = np.unique(photos.kinds[~known], return_counts=True)
    many = [kind for kind, count in zip(kinds.tolist(), counts, strict=True) if count >= _FEW]
    return RealPhotoMetrics(
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
        ece=None if bins is None else ece(bins),
        ece_if_true=None if bins is None else ece_if_true(bins),
        sources=tuple(
            _of_source(answers, source, right) for source in np.unique(photos.sources).tolist()
        ),
        mistakes=_mistakes(answers, labels),
    )


def cross_fitted_ece(
    classifier: Classifier, answers: PhotoPredictions, rows: Split
) -> float | None:
    """Return the ECE on photos of calibrations that were chosen without them, in five folds.

    Args:
        classifier: The model.
        answers: What it gave on photos that its calibration was chosen by.
        rows: The rows that it was chosen by too.
    """
    if answers.logits is None:
        return None
    known = answers.photos.known
    truth = answers.photos.labels[known]
    of_rows = run_inference(classifier, rows.images, "rows").outputs.logits
    groups = [(answers.logits[known], truth), (of_rows, rows.labels)]
    sure = cross_fitted(groups, classifier.config)[0]
    return ece(reliability(sure, answers.labels[known] == truth))


def _mistakes(
    answers: PhotoPredictions, labels: tuple[str, ...]
) -> tuple[PhotoMisclassification, ...]:
    photos, sure = answers.photos, answers.confidences
    wrong = np.flatnonzero(photos.known & (answers.labels != photos.labels))
    if sure is not None:
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    return tuple(
        PhotoMisclassification(
            source=str(photos.sources[i]),
            path=str(photos.paths[i]),
            label=labels[photos.labels[i]],
            answer=labels[answers.labels[i]],
            confidence=None if sure is None else float(sure[i]),
        )
        for i in wrong
    )


def estimate(outcomes: Sequence[bool] | NDArray[np.bool_]) -> ProportionEstimate:
    """Return the share of outcomes that are true, with its Wilson interval; at least one."""
    return ProportionEstimate.of(int(np.sum(outcomes)), len(outcomes))


def _of_source(answers: PhotoPredictions, source: str, right: NDArray[np.bool_]) -> SourceMetrics:
    here = answers.photos.sources == source
    known, none = here & answers.photos.known, here & ~answers.photos.known
    return SourceMetrics(
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
