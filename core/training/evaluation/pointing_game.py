"""The grid pointing game: does the evidence for a class lie on the photo that shows the class?

Four photos of different classes are drawn in a 2×2 grid. The localisation score of an explanation
is the fraction of its positive evidence for a class that lies in the cell of that class (Böhle,
Fritz and Schiele 2021, arXiv 2104.00032, section 4.2). A map that ignores the image scores .25.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.bundle.metrics import PointingMetrics
from core.inference.classifier import Classifier
from core.photos.preprocess import InputSpec, resize
from core.training.evaluation.intervals import mean_interval
from core.training.evaluation.real_photos import PhotoPredictions

__all__ = [
    "CHANCE",
    "Explain",
    "Grid",
    "localisation",
    "localisation_scores",
    "make_grids",
    "measure_pointing",
]

CHANCE = 0.25
"""Score of a map that is the same everywhere."""

_MIN_CONFIDENCE = 0.9
_MIN_CLASSES = 4
_SIDE = 2

Explain = Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
"""Computes the evidence for a class, a non-negative map of shape (h, w), float32.

The arguments are an image of shape (h, w, 3), uint8, and the index of the class.
"""


@dataclass(frozen=True, eq=False)
class Grid:
    """Four photos in one image.

    Attributes:
        image: Shape (h, w, 3), uint8, RGB, of the model's input size.
        labels: Class index of each cell, row by row; four different ones.
    """

    image: NDArray[np.uint8]
    labels: tuple[int, ...]


def make_grids(predictions: PhotoPredictions, spec: InputSpec, n: int, seed: int) -> list[Grid]:
    """Draw grids of photos that a model classifies correctly with a confidence of at least 0.9.

    Args:
        predictions: Predictions of the model on photos; those without confidences give no grid.
        spec: Input of the model; each photo is resized to half its height and width.
        n: Number of grids.
        seed: Seed of the choice of classes, photos and cells.

    Returns:
        The grids; none if fewer than four classes have such a photo.
    """
    photos = predictions.photos
    if predictions.confidences is None:
        return []
    eligible = photos.known & (predictions.labels == photos.labels)
    eligible &= predictions.confidences >= _MIN_CONFIDENCE
    by_label = {
        int(label): np.flatnonzero(eligible & (photos.labels == label))
        for label in np.unique(photos.labels[eligible])
    }
    if len(by_label) < _MIN_CLASSES:
        return []
    cell = spec.model_copy(update={"height": spec.height // 2, "width": spec.width // 2})
    rng = np.random.default_rng(seed)
    grids = []
    for _ in range(n):
        labels = rng.choice(sorted(by_label), _MIN_CLASSES, replace=False).tolist()
        cells = [resize(photos.images[rng.choice(by_label[label])], cell) for label in labels]
        rows = [np.concatenate(cells[i : i + _SIDE], axis=1) for i in (0, _SIDE)]
        whole = Image.fromarray(np.concatenate(rows))
        # With an odd input size, the four cells are one row or column short of it.
        image = np.asarray(whole.resize((spec.width, spec.height), Image.Resampling.BILINEAR))
        grids.append(Grid(image, tuple(labels)))
    return grids


def localisation(evidence: NDArray[np.float32], cell: int) -> float:
    """Return the fraction of a map that lies in one cell of a 2×2 grid.

    Args:
        evidence: Non-negative map of the size of the image, shape (h, w).
        cell: 0 to 3, row by row.

    Returns:
        0 to 1; 0 for a map without evidence.
    """
    height, width = (length // 2 for length in evidence.shape)
    top, left = (cell // _SIDE) * height, (cell % _SIDE) * width
    bottom = evidence.shape[0] if cell // _SIDE else height
    right = evidence.shape[1] if cell % _SIDE else width
    total = float(evidence.sum())
    return float(evidence[top:bottom, left:right].sum()) / total if total > 0 else 0.0


def localisation_scores(
    grids: Sequence[Grid], logits: NDArray[np.float32], explain: Explain
) -> list[float]:
    """Compute the localisation score of each grid, for the class in it that the model predicts.

    Args:
        grids: The n grids.
        logits: Logits of the model on their images, shape (n, k).
        explain: Computes the evidence for a class.

    Returns:
        n scores, 0 to 1.
    """
    scores = []
    for grid, row in zip(grids, logits, strict=True):
        cell = int(np.argmax(row[list(grid.labels)]))
        scores.append(localisation(explain(grid.image, grid.labels[cell]), cell))
    return scores


def measure_pointing(
    classifier: Classifier,
    predictions: PhotoPredictions,
    data: str,
    *,
    n: int = 500,
    seed: int = 0,
    gradient: Explain | None = None,
) -> PointingMetrics | None:
    """Play the grid pointing game with the saliency maps that users see.

    Args:
        classifier: The model.
        predictions: Its predictions on photos.
        data: Human-readable description of the photos.
        n: Number of grids, at least 2.
        seed: As for `make_grids`.
        gradient: Computes the magnitude of the gradient of a logit with respect to the image, the
            baseline; None without the Keras network, since a flatbuffer has no gradients.

    Returns:
        The mean score with its 95% interval; None if `make_grids` finds no grid, or if the model's
        maps are too coarse to be shown.
    """
    grids = make_grids(predictions, classifier.config.input, n, seed)
    if not grids:
        return None
    logits = np.concatenate([classifier.outputs(grid.image[None]).logits for grid in grids])

    def explain(image: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        saliency = classifier.saliency(image, label)
        return np.zeros(image.shape[:2], np.float32) if saliency is None else saliency

    scores = np.asarray(localisation_scores(grids, logits, explain))
    if not scores.any():
        return None
    baseline = None
    if gradient is not None:
        baseline = float(np.mean(localisation_scores(grids, logits, gradient)))
    mean, low, high = mean_interval(scores)
    return PointingMetrics(
        data=data,
        n=len(scores),
        mean=mean,
        low=max(0.0, low),
        high=min(1.0, high),
        input_gradient=baseline,
    )
