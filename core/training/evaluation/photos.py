"""Evaluation on a folder of photos with labels.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle.metrics import PhotoMetrics, ProportionEstimate
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.inference.reliability import ece, reliability
from core.training.data.labelled_photos import NONE, read_labels, translate_photo_errors

__all__ = ["decode_photos", "evaluate_photos"]


def evaluate_photos(classifier: Classifier, folder: Path) -> PhotoMetrics:
    """Evaluate a model on photos.

    Args:
        classifier: The model.
        folder: Folder of photos with labels.csv, which has the columns `file` and `label`; a label
            is one of the model's, or `none` for a photo of none of them.

    Raises:
        DataError: labels.csv is missing or invalid, or a photo cannot be read.
    """
    truth = read_labels(folder, classifier.labels)
    predictions: list[tuple[str, Prediction]] = []
    for file, label in truth.items():
        with translate_photo_errors(folder / file):
            predictions.append((label, classifier.predict(folder / file)))
    known = [(label, each) for label, each in predictions if label != NONE]
    confidences = np.asarray([each.confidence for _, each in known])
    correct = np.asarray([each.label == label for label, each in known])
    none = [each.verdict for label, each in predictions if label == NONE]
    return PhotoMetrics(
        n=len(predictions),
        accuracy=_estimate([each.label == label for label, each in known]),
        recall={
            name: estimate
            for name in classifier.labels
            if (estimate := _estimate([p.label == name for label, p in known if label == name]))
        },
        known_and_right=_estimate(
            [each.verdict == "known" and each.label == label for label, each in known]
        ),
        known_told_none=_estimate([each.verdict == "none" for _, each in known]),
        told_none=_estimate([verdict == "none" for verdict in none]),
        taken_for_known=_estimate([verdict == "known" for verdict in none]),
        confidence=float(confidences.mean()) if known else None,
        ece=ece(reliability(confidences, correct)) if known else None,
    )


def decode_photos(
    classifier: Classifier, folder: Path
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Decode the photos of a folder at the scale that a model needs.

    Args:
        classifier: The model.
        folder: Folder of photos with labels.csv, as for `evaluate_photos`.

    Returns:
        Photos of known classes, and photos of none; each of shape (h, w, 3), uint8.

    Raises:
        DataError: labels.csv is missing or invalid, or a photo cannot be read.
    """
    known: list[NDArray[np.uint8]] = []
    none: list[NDArray[np.uint8]] = []
    for file, label in read_labels(folder, classifier.labels).items():
        with translate_photo_errors(folder / file):
            (none if label == NONE else known).append(classifier.decode(folder / file))
    return known, none


def _estimate(outcomes: list[bool]) -> ProportionEstimate | None:
    return ProportionEstimate.of(sum(outcomes), len(outcomes)) if outcomes else None
