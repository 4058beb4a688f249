"""What a model is worth on real photos, which are not 32 pixels wide."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.metrics import PhotoMetrics, ProportionEstimate
from core.errors import DataError, ImageError, PhotoReadError
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.photos.decode import decode
from core.training.data.datasets import Split
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.calibrate import ece, reliability

__all__ = [
    "LABELS",
    "NONE",
    "evaluate_photos",
    "learn_from_photos",
    "read_labels",
    "read_own_photos",
    "read_photos",
]

LABELS = "labels.csv"
NONE = "none"
"""In place of a label, for photos that show none of them."""
_SIDE = 64


def evaluate_photos(classifier: Classifier, folder: Path) -> PhotoMetrics:
    """Answer every photo of a folder and compare.

    Args:
        classifier: The model.
        folder: Photos, and labels.csv with the columns `file` and `label`; a label is one of the
            model's, or `none` for a photo that shows none of them.

    Raises:
        DataError: labels.csv is missing or wrong, or a photo cannot be read.
    """
    truth = read_labels(folder, classifier.labels)
    answers: list[tuple[str, Prediction]] = []
    for file, label in truth.items():
        try:
            answers.append((label, classifier.predict(folder / file)))
        except (ImageError, PhotoReadError) as error:
            raise DataError(f"{folder / file}: {error}") from error
    known = [(label, answer) for label, answer in answers if label != NONE]
    confidences = np.asarray([answer.confidence for _, answer in known])
    right = np.asarray([answer.label == label for label, answer in known])
    none = [answer.verdict for label, answer in answers if label == NONE]
    return PhotoMetrics(
        n=len(answers),
        accuracy=_estimate([answer.label == label for label, answer in known]),
        recall={
            each: estimate
            for each in classifier.labels
            if (estimate := _estimate([a.label == each for label, a in known if label == each]))
        },
        known_and_right=_estimate(
            [a.verdict == "known" and a.label == label for label, a in known]
        ),
        known_told_none=_estimate([answer.verdict == "none" for _, answer in known]),
        told_none=_estimate([verdict == "none" for verdict in none]),
        taken_for_known=_estimate([verdict == "known" for verdict in none]),
        confidence=float(confidences.mean()) if known else None,
        ece=ece(reliability(confidences, right)) if known else None,
    )


def read_photos(
    classifier: Classifier, folder: Path
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Pixels of the photos of a known class, and of those of none.

    Args:
        classifier: For what model they are decoded.
        folder: As for `evaluate_photos`.

    Raises:
        DataError: As there.
    """
    known: list[NDArray[np.uint8]] = []
    none: list[NDArray[np.uint8]] = []
    for file, label in read_labels(folder, classifier.labels).items():
        try:
            (none if label == NONE else known).append(classifier.decode(folder / file))
        except (ImageError, PhotoReadError) as error:
            raise DataError(f"{folder / file}: {error}") from error
    return known, none


def learn_from_photos(folder: Path, labels: tuple[str, ...]) -> tuple[Split, Split]:
    """Photos to learn from beside a data set, scaled to the size of Tiny ImageNet's.

    Args:
        folder: As for `evaluate_photos`; what `tensight feedback export` writes is such.
        labels: The data set's.

    Returns:
        Those of the labels; and those of none, whose labels say nothing. Images of shape
        (n, 64, 64, 3).

    Raises:
        DataError: As for `evaluate_photos`.
    """
    known: list[tuple[NDArray[np.uint8], int, int]] = []
    none: list[tuple[NDArray[np.uint8], int, int]] = []
    for row, (file, label) in enumerate(read_labels(folder, labels).items()):
        try:
            whole = Image.fromarray(decode(folder / file, min_side=2 * _SIDE))
        except (ImageError, PhotoReadError) as error:
            raise DataError(f"{folder / file}: {error}") from error
        image = np.asarray(whole.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        if label == NONE:
            none.append((image, 0, row))
        else:
            known.append((image, labels.index(label), row))
    return _split(known), _split(none)


def read_own_photos(folder: Path, labels: tuple[str, ...]) -> RealPhotos:
    """Read photos to learn from beside real photos, in their own size.

    Args:
        folder: As for `evaluate_photos`.
        labels: The data set's.

    Returns:
        The label of photos of none is the number of labels.

    Raises:
        DataError: As for `evaluate_photos`.
    """
    truth = read_labels(folder, labels)
    images = []
    for file in truth:
        try:
            images.append(decode(folder / file))
        except (ImageError, PhotoReadError) as error:
            raise DataError(f"{folder / file}: {error}") from error
    places = [len(labels) if label == NONE else labels.index(label) for label in truth.values()]
    return RealPhotos(
        tuple(images),
        np.asarray(places, np.int64),
        np.asarray(list(truth.values()), np.str_),
        np.asarray([folder.name] * len(images), np.str_),
        np.asarray(list(truth), np.str_),
    )


def _split(rows: list[tuple[NDArray[np.uint8], int, int]]) -> Split:
    return Split(
        np.asarray([image for image, _, _ in rows], np.uint8).reshape(-1, _SIDE, _SIDE, 3),
        np.asarray([label for _, label, _ in rows], np.int64),
        np.asarray([row for _, _, row in rows], np.int64),
    )


def read_labels(folder: Path, labels: tuple[str, ...]) -> dict[str, str]:
    """Label of each photo of a folder, by file name.

    Args:
        folder: Where labels.csv lies.
        labels: Those there may be, beside `none`.

    Raises:
        DataError: labels.csv is missing or wrong.
    """
    path = folder / LABELS
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}. It has the columns file,label."
        ) from error
    truth: dict[str, str] = {}
    for number, row in rows:
        file, label = row.get("file"), row.get("label")
        if not file or not label:
            raise DataError(f"{path}, line {number}: expected file,label; got {dict(row)}.")
        if label not in (*labels, NONE):
            raise DataError(
                f"{path}, line {number}: the model has no label {label!r}; it knows "
                f"{', '.join(labels)}, and {NONE} is for photos of none of them."
            )
        if file in truth:
            raise DataError(f"{path}, line {number}: {file} was named before.")
        truth[file] = label
    if not truth:
        raise DataError(f"{path} names no photo.")
    return truth


def _estimate(outcomes: list[bool]) -> ProportionEstimate | None:
    return ProportionEstimate.of(sum(outcomes), len(outcomes)) if outcomes else None
