"""Evaluation on real photos: accuracy, calibration and out-of-distribution detection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import (
    PhotoMisclassification,
    ProportionEstimate,
    RealPhotoMetrics,
    SourceMetrics,
)
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.inference.reliability import calibrated_ece_interval, ece, reliability
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Split
from core.training.data.real_photos import RealPhotos, RealPhotosParts
from core.training.evaluation.calibration import cross_fitted_confidences
from core.training.evaluation.evaluation_data import REAL_PHOTOS
from core.training.evaluation.model_outputs import run_inference
from core.training.evaluation.ood import FALSE_NEGATIVE_RATE, auroc, score_outputs

__all__ = [
    "PhotoPredictions",
    "cross_fitted_ece",
    "metrics_by_part",
    "photo_metrics",
    "predict_photos",
]

_UNSEEN = "real photos of held-out sources"
# Rejection rates are reported for kinds with at least this many photos.
_MIN_PHOTOS = 5


@dataclass(frozen=True, eq=False)
class PhotoPredictions:
    """Predictions of a model on real photos.

    Attributes:
        photos: The photos.
        labels: Predicted class indices, shape (n,), int64.
        scores: Out-of-distribution scores, higher for photos of the labels, shape (n,), float64.
        confidences: Calibrated confidences, shape (n,), 0 to 1; None for a model without
            calibration.
        logits: Logits, shape (n, k), float32; None for a model without calibration.
    """

    photos: RealPhotos
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    confidences: NDArray[np.float64] | None = None
    logits: NDArray[np.float32] | None = None


def predict_photos(classifier: Classifier, photos: RealPhotos) -> PhotoPredictions:
    """Run a model on real photos.

    Args:
        classifier: The model.
        photos: The photos; the result is empty if there are none.
    """
    if not len(photos):
        return PhotoPredictions(photos, np.empty(0, np.int64), np.empty(0))
    outputs = run_inference(classifier, photos.images, "real photos").outputs
    config = classifier.config
    return PhotoPredictions(
        photos,
        outputs.logits.argmax(axis=1).astype(np.int64),
        score_outputs(config.verdict.method, outputs, config, classifier.ood_params),
        confidences(outputs.logits, config),
        outputs.logits,
    )


def metrics_by_part(
    parts: RealPhotosParts, predict: Callable[[RealPhotos], PhotoPredictions]
) -> dict[str, RealPhotoMetrics | None]:
    """Compute the fields `real_photos` and `unseen_sources` of metrics.json.

    Args:
        parts: The photos.
        predict: Runs the model on the photos of a part; called once for each.

    Returns:
        Metrics by field; without held-out sources there is no `unseen_sources`.
    """
    kept_back = predict(parts.kept_back)
    metrics: dict[str, RealPhotoMetrics | None] = {
        "real_photos": photo_metrics(predict(parts.valid), kept_back, CIFAR10_LABELS, REAL_PHOTOS)
    }
    if len(parts.unseen):
        unseen = predict(parts.unseen)
        metrics["unseen_sources"] = photo_metrics(unseen, kept_back, CIFAR10_LABELS, _UNSEEN)
    return metrics


def photo_metrics(
    predictions: PhotoPredictions, kept_back: PhotoPredictions, labels: tuple[str, ...], name: str
) -> RealPhotoMetrics:
    """Compute the metrics of a model on photos.

    Args:
        predictions: Predictions on photos of the labels and of other objects.
        kept_back: Predictions on photos of kinds that are held out of training and selection.
        labels: Names of the labels.
        name: Human-readable description of the photos.
    """
    photos = predictions.photos
    known = photos.known
    correct = predictions.labels == photos.labels
    # 95% of the photos of the labels score at least this, as for FPR@95.
    threshold = np.quantile(predictions.scores[known], FALSE_NEGATIVE_RATE)
    rejected = predictions.scores < threshold
    confidence = predictions.confidences
    bins = None if confidence is None else reliability(confidence[known], correct[known])
    return RealPhotoMetrics(
        data=name,
        accuracy=_proportion(correct[known]),
        recall={
            label: _proportion(correct[photos.labels == i])
            for i, label in enumerate(labels)
            if (photos.labels == i).any()
        },
        auroc=_auroc_if_any(predictions.scores[known], predictions.scores[~known]),
        n_none=int((~known).sum()),
        rejected=_proportion(rejected[~known]) if (~known).any() else None,
        auroc_kept_back=_auroc_if_any(predictions.scores[known], kept_back.scores),
        n_kept_back=len(kept_back.scores),
        rejected_kept_back=(
            _proportion(kept_back.scores < threshold) if len(kept_back.scores) else None
        ),
        rejected_kinds=_by_frequent_kind(photos.kinds[~known], rejected[~known]),
        rejected_kept_back_kinds=_by_frequent_kind(
            kept_back.photos.kinds, kept_back.scores < threshold
        ),
        confidence=None if confidence is None else float(confidence[known].mean()),
        ece=None if bins is None else ece(bins),
        ece_if_true=None if bins is None else calibrated_ece_interval(bins),
        sources=tuple(
            _source_metrics(predictions, source, correct)
            for source in np.unique(photos.sources).tolist()
        ),
        mistakes=_mistakes(predictions, labels),
    )


def cross_fitted_ece(
    classifier: Classifier, predictions: PhotoPredictions, rows: Split
) -> float | None:
    """Return the ECE on photos with cross-fitted calibration.

    Args:
        classifier: The model.
        predictions: Predictions on the photos that its calibration was fitted on.
        rows: Validation rows that its calibration was fitted on too.

    Returns:
        The ECE, 0 to 1; None for predictions without logits.
    """
    if predictions.logits is None:
        return None
    known = predictions.photos.known
    truth = predictions.photos.labels[known]
    row_logits = run_inference(classifier, rows.images, "rows").outputs.logits
    groups = [(predictions.logits[known], truth), (row_logits, rows.labels)]
    on_photos, _ = cross_fitted_confidences(groups, classifier.config)
    return ece(reliability(on_photos, predictions.labels[known] == truth))


def _mistakes(
    predictions: PhotoPredictions, labels: tuple[str, ...]
) -> tuple[PhotoMisclassification, ...]:
    """List misclassified photos of the labels, highest confidence first."""
    photos, confidence = predictions.photos, predictions.confidences
    wrong = np.flatnonzero(photos.known & (predictions.labels != photos.labels))
    if confidence is not None:
        wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return tuple(
        PhotoMisclassification(
            source=str(photos.sources[i]),
            path=str(photos.paths[i]),
            label=labels[photos.labels[i]],
            answer=labels[predictions.labels[i]],
            confidence=None if confidence is None else float(confidence[i]),
        )
        for i in wrong
    )


def _source_metrics(
    predictions: PhotoPredictions, source: str, correct: NDArray[np.bool_]
) -> SourceMetrics:
    """Compute the metrics on the photos of one source; `correct` has the shape (n,)."""
    here = predictions.photos.sources == source
    known, none = here & predictions.photos.known, here & ~predictions.photos.known
    return SourceMetrics(
        source=source,
        accuracy=_proportion(correct[known]) if known.any() else None,
        n_none=int(none.sum()),
        auroc=_auroc_if_any(predictions.scores[known], predictions.scores[none]),
    )


def _by_frequent_kind(
    kinds: NDArray[np.str_], rejected: NDArray[np.bool_]
) -> dict[str, ProportionEstimate]:
    """Return the rejection rate of each kind with enough photos; both have the shape (n,)."""
    names, counts = np.unique(kinds, return_counts=True)
    return {
        name: _proportion(rejected[kinds == name])
        for name, n in zip(names.tolist(), counts, strict=True)
        if n >= _MIN_PHOTOS
    }


def _proportion(outcomes: NDArray[np.bool_]) -> ProportionEstimate:
    return ProportionEstimate.of(int(outcomes.sum()), len(outcomes))


def _auroc_if_any(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve; None where either group is empty."""
    return auroc(inside, outside) if len(inside) and len(outside) else None
