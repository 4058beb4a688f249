"""Select the weights of a run with a `PhotoPlan` by weight interpolation (WiSE-FT)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from core.photos.preprocess import InputSpec
from core.training.data.datasets import Split
from core.training.data.photo_batches import LabelledImages
from core.training.data.real_photos import RealPhotos
from core.training.embedder import Embedder
from core.training.evaluation.real_photos import PhotoPredictions
from core.training.linear_probe import fit_linear_probe
from core.training.photo_plan import PhotoPlan

__all__ = [
    "InterpolatedWeights",
    "SelectionData",
    "measure_weights",
    "predict_with_head",
    "refit_head",
    "select_interpolation",
]

_FILE = "blend.json"
# Half a standard error of the score on 2,000 rows and 700 photos. A refitted head sees images that
# the network was trained on, so it is preferred only for a gain beyond chance.
_MIN_GAIN = 0.002
_HEAD = "logits"


@dataclass(frozen=True)
class InterpolatedWeights:
    """Weights on the line from the start of a run to its moving average.

    Attributes:
        coefficient: 0 for the start, 1 for the exponential moving average.
        row_accuracy: Accuracy on held-out rows, 0 to 1.
        score: Criterion of the selection, 0 to 1, see `select_interpolation`.
    """

    coefficient: float
    row_accuracy: float
    score: float

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> InterpolatedWeights:
        """Read an entry of the run's file."""
        return cls(stored["share"], stored["rows"], stored["worth"])

    def to_json(self) -> dict[str, float]:
        """Return an entry of the run's file, whose keys are those of the first version."""
        return {"share": self.coefficient, "rows": self.row_accuracy, "worth": self.score}


@dataclass(frozen=True, eq=False)
class SelectionData:
    """Validation data for the selection of weights.

    Attributes:
        rows: Held-out rows.
        photos: Validation photos of the labels and of none.
        spec: Input of the served model.
    """

    rows: Split
    photos: RealPhotos
    spec: InputSpec


def select_interpolation(
    model: keras.Model, plan: PhotoPlan, data: SelectionData, folder: Path
) -> InterpolatedWeights:
    """Set the weights of a model to the best interpolation between start and moving average.

    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903. The criterion is
    the mean of the accuracy on rows and a score on photos; the latter is the mean of the accuracy
    on photos of the labels and the AUROC of these against photos of none.

    Args:
        model: Trained network with its optimiser. Its head is linear in the embedding and has one
            output more than there are labels.
        plan: Candidate coefficients.
        data: Validation data.
        folder: Folder of the run, where measured candidates are stored.
    """
    file = folder / _FILE
    measured: list[InterpolatedWeights] = []
    if file.is_file():
        measured = [
            InterpolatedWeights.from_json(each) for each in json.loads(file.read_text("utf-8"))
        ]
    for coefficient in plan.interpolations[len(measured) :]:
        _set_weights(model, coefficient)
        measured.append(measure_weights(model, data, coefficient))
        file.write_text(json.dumps([each.to_json() for each in measured], indent=1), "utf-8")
    best = max(measured, key=lambda each: each.score)
    _set_weights(model, best.coefficient)
    return best


def measure_weights(
    model: keras.Model, data: SelectionData, coefficient: float
) -> InterpolatedWeights:
    """Measure a model with its current weights.

    Args:
        model: Network as for `select_interpolation`.
        data: Validation data.
        coefficient: Coefficient that the current weights were interpolated with.
    """
    kernel, bias = model.get_layer(_HEAD).get_weights()
    return _measure(Embedder(model, data.spec), (kernel, bias), data, coefficient)


def refit_head(
    model: keras.Model,
    weights: InterpolatedWeights,
    images: LabelledImages,
    plan: PhotoPlan,
    data: SelectionData,
) -> InterpolatedWeights:
    """Replace the head by a linear probe at the served image size if that scores 0.002 higher.

    Most training steps see smaller images, and the head was trained for the weights of the last
    step, not for the interpolated ones.

    Args:
        model: Network with the selected weights.
        weights: Their measurement.
        images: Training images.
        plan: Regularisation of the probe.
        data: Validation data.

    Returns:
        Measurement of the network with the head that it keeps: `weights` itself for its own.
    """
    head = model.get_layer(_HEAD)
    embedder = Embedder(model, data.spec)
    classes = model.outputs[0].shape[-1]
    probe = fit_linear_probe(embedder.embed(images), images.labels, classes, plan.probe_c)
    refitted = _measure(embedder, (probe.kernel, probe.bias), data, weights.coefficient)
    if refitted.score < weights.score + _MIN_GAIN:
        return weights
    head.set_weights([probe.kernel, probe.bias])
    return refitted


def predict_with_head(
    embedder: Embedder, kernel: NDArray[np.float32], bias: NDArray[np.float32], photos: RealPhotos
) -> PhotoPredictions:
    """Predict photos with a linear head on embeddings, without calibration.

    The out-of-distribution score is the log odds of the labels against none of them.

    Args:
        embedder: Computes the embeddings.
        kernel: Weights of the head, shape (d, k + 1); the last output is for none.
        bias: Biases of the head, shape (k + 1,).
        photos: The photos, possibly none.
    """
    if not len(photos):
        return PhotoPredictions(photos, np.empty(0, np.int64), np.empty(0))
    embeddings = embedder.embed(LabelledImages.from_photos(photos))
    logits = embeddings.astype(np.float64) @ kernel + bias
    return PhotoPredictions(
        photos,
        logits[:, :-1].argmax(axis=1).astype(np.int64),
        np.asarray(logsumexp(logits[:, :-1], axis=1) - logits[:, -1]),
    )


def _measure(
    embedder: Embedder,
    head: Sequence[NDArray[np.float32]],
    data: SelectionData,
    coefficient: float,
) -> InterpolatedWeights:
    """Measure a network with a head, given as kernel and bias."""
    kernel, bias = head
    rows = LabelledImages.from_split(data.rows)
    logits = embedder.embed(rows) @ kernel + bias
    row_accuracy = float((logits[:, :-1].argmax(axis=1) == rows.labels).mean())
    photos = _photo_score(predict_with_head(embedder, kernel, bias, data.photos))
    return InterpolatedWeights(coefficient, row_accuracy, (row_accuracy + photos) / 2)


def _set_weights(model: keras.Model, coefficient: float) -> None:
    weights = model.optimizer.interpolate(coefficient)
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])


def _photo_score(predictions: PhotoPredictions) -> float:
    """Return the mean of the accuracy on the labels and the AUROC against photos of none."""
    known = predictions.photos.known
    accuracy = float((predictions.labels == predictions.photos.labels)[known].mean())
    return (accuracy + float(roc_auc_score(known, predictions.scores))) / 2
