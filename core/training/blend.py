"""Choose the weights that a run with a `PhotoPlan` ends with, between its start and its average."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from core.photos.preprocess import InputSpec
from core.training.data.datasets import Split
from core.training.data.photo_batches import LabelledBatches, LabelledImages
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.real_photos import PhotoAnswers
from core.training.photo_plan import PhotoPlan

__all__ = ["Blend", "answer_unblended", "choose_blend"]

_FILE = "blend.json"


@dataclass(frozen=True)
class Blend:
    """Weights between the start of a run and its running average.

    Attributes:
        share: 0 for the start, 1 for the running average.
        rows: Share of the held-out rows that it is right on.
        worth: What it was chosen by, see `choose_blend`.
    """

    share: float
    rows: float
    worth: float


def choose_blend(
    model: keras.Model,
    plan: PhotoPlan,
    spec: InputSpec,
    rows: Split,
    photos: RealPhotos,
    folder: Path,
) -> Blend:
    """Find the best weights, and set them.

    Rows and photos count alike. Half of what counts on photos is the share of those of the labels
    that get theirs, the other half the AUROC of these against photos of none.

    Args:
        model: The trained network with its optimizer; one output more than there are labels.
        plan: Which places to try.
        spec: The input that is served.
        rows: Held-out rows; `plan.blend_rows` are taken.
        photos: Photos to choose by.
        folder: Of the run; what was found is kept there.
    """
    file = folder / _FILE
    tried: list[Blend] = []
    if file.is_file():
        tried = [Blend(**each) for each in json.loads(file.read_text("utf-8"))]
    some = rows.take(np.arange(min(len(rows), plan.blend_rows)))
    for share in plan.blends[len(tried) :]:
        _set(model, share)
        logits = _logits(model, LabelledImages(list(some.images), some.labels), spec)
        right = float((logits[:, :-1].argmax(axis=1) == some.labels).mean())
        worth = (right + _worth(_answers(model, photos, spec))) / 2
        tried.append(Blend(share, right, worth))
        file.write_text(json.dumps([asdict(each) for each in tried], indent=1), "utf-8")
    best = max(tried, key=lambda each: each.worth)
    _set(model, best.share)
    return best


def answer_unblended(model: keras.Model, photos: RealPhotos, spec: InputSpec) -> PhotoAnswers:
    """Return what the weights of the start give, a linear probe on the features of ImageNet.

    The weights of the model stay as they are.

    Args:
        model: The trained network with its optimizer.
        photos: Any photos.
        spec: The input that is served.
    """
    if not len(photos):
        return PhotoAnswers(photos, np.empty(0, np.int64), np.empty(0))
    weights = model.get_weights()
    _set(model, 0.0)
    answers = _answers(model, photos, spec)
    model.set_weights(weights)
    return answers


def _set(model: keras.Model, share: float) -> None:
    weights = model.optimizer.blend(share)
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])


def _logits(model: keras.Model, data: LabelledImages, spec: InputSpec) -> NDArray[np.float32]:
    classes = model.outputs[0].shape[-1]
    given = model.predict(LabelledBatches(data, spec, classes), verbose=0)
    return np.asarray(given, np.float32)


def _answers(model: keras.Model, photos: RealPhotos, spec: InputSpec) -> PhotoAnswers:
    logits = _logits(model, LabelledImages(photos.images, photos.labels), spec).astype(np.float64)
    scores = logsumexp(logits[:, :-1], axis=1) - logits[:, -1]
    return PhotoAnswers(photos, logits[:, :-1].argmax(axis=1).astype(np.int64), scores)


def _worth(answers: PhotoAnswers) -> float:
    """Return the mean of accuracy on the labels and AUROC against photos of none."""
    known = answers.photos.known
    right = float((answers.labels == answers.photos.labels)[known].mean())
    return (right + float(roc_auc_score(known, answers.scores))) / 2
