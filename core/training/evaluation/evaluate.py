"""Accuracy, calibration and latency of a model, through the classifier that serves it."""

from __future__ import annotations

import statistics
import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from core.bundle.metrics import ClassMetrics, ConfidenceMetrics, Misclassification, SplitMetrics
from core.inference.calibration import confidences
from core.inference.classifier import Classifier
from core.inference.reliability import ece, log_loss, reliability
from core.photos.preprocess import crops
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import run_inference

__all__ = ["confidence_metrics", "evaluate_split", "measure_latency"]

_LATENCY_RUNS = 300
_MAX_MISTAKES = 20


def evaluate_split(
    classifier: Classifier, split: Split, name: str, hub: str | None = None
) -> SplitMetrics:
    """Compute the metrics of a model on a split.

    Args:
        classifier: The model, which averages over its views.
        split: Rows, whose labels are indices of the model's labels; at least one.
        name: Human-readable description of the split.
        hub: Name of its data set on the Hub; None where it is not there.
    """
    predictions = classifier.predict_many([Image.fromarray(image) for image in split.images])
    labels = classifier.labels
    index = {label: i for i, label in enumerate(labels)}
    predicted = np.asarray([index[each.label] for each in predictions])
    probabilities = np.asarray([[each.scores[label] for label in labels] for each in predictions])
    correct = predicted == split.labels
    bins = reliability(probabilities.max(axis=1), correct)
    by_class = _precision_recall(split.labels, predicted, len(labels), None)
    precision, recall, f1, _ = _precision_recall(split.labels, predicted, len(labels), "macro")
    confusion = confusion_matrix(split.labels, predicted, labels=np.arange(len(labels)))
    verdicts = Counter(each.verdict for each in predictions)
    confidence = np.asarray([each.confidence for each in predictions])
    wrong = np.flatnonzero(~correct)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MAX_MISTAKES]
    return SplitMetrics(
        data=name,
        hub=hub,
        n=len(split),
        accuracy=float(correct.mean()),
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        log_loss=log_loss(probabilities, split.labels),
        ece=ece(bins),
        classes=tuple(
            ClassMetrics(
                label=label, precision=float(p), recall=float(r), f1=float(f), support=int(n)
            )
            for label, p, r, f, n in zip(labels, *by_class, strict=True)
        ),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        reliability=bins,
        verdicts={
            "known": verdicts["known"],
            "unsure": verdicts["unsure"],
            "none": verdicts["none"],
        },
        mistakes=tuple(
            Misclassification(
                row=int(split.rows[i]),
                label=labels[split.labels[i]],
                answer=labels[predicted[i]],
                confidence=confidence[i],
            )
            for i in worst
        ),
    )


def confidence_metrics(classifier: Classifier, split: Split, name: str) -> ConfidenceMetrics:
    """Compute accuracy, mean confidence and expected calibration error on a split.

    Args:
        classifier: The model.
        split: Rows, whose labels are indices of the model's labels; at least one.
        name: Human-readable description of the rows.
    """
    logits = run_inference(classifier, split.images, name).outputs.logits
    confidence = confidences(logits, classifier.config)
    correct = logits.argmax(axis=1) == split.labels
    return ConfidenceMetrics(
        data=name,
        n=len(split),
        accuracy=float(correct.mean()),
        confidence=float(confidence.mean()),
        ece=ece(reliability(confidence, correct)),
    )


def measure_latency(classifier: Classifier) -> float:
    """Measure the median latency of a 4:3 photo, in milliseconds.

    The batch size is 1. All crops and views are computed; decoding and resizing are excluded.
    """
    spec = classifier.config.input
    shape = (3 * spec.height, 4 * spec.width, 3)
    image = crops(np.random.default_rng(0).integers(0, 256, shape, np.uint8), spec)
    durations = []
    for _ in range(_LATENCY_RUNS):
        started = time.perf_counter()
        classifier.outputs(image)
        durations.append((time.perf_counter() - started) * 1000)
    return statistics.median(durations)


def _precision_recall(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, average: str | None
) -> tuple[NDArray[np.float64], ...]:
    """Compute precision, recall, F1 and support: shape (classes,) each, or averaged to scalars."""
    metrics: tuple[NDArray[np.float64], ...] = precision_recall_fscore_support(
        truth, predicted, labels=np.arange(classes), average=average, zero_division=0
    )
    return metrics
