"""Choose the weights that a run with a `PhotoPlan` ends with, between its start and its average."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
from core.training.photo_plan import PhotoPlan
from core.training.probe import fit_probe

__all__ = ["Blend", "HeldOutData", "choose_blend", "measure_blend", "refit_head"]

_FILE = "blend.json"
_HEAD = "logits"


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


@dataclass(frozen=True, eq=False)
class HeldOutData:
    """What weights are chosen by.

    Attributes:
        rows: Held-out rows.
        photos: Photos of the labels and of none.
        spec: The input that is served.
    """

    rows: Split
    photos: RealPhotos
    spec: InputSpec


def choose_blend(model: keras.Model, plan: PhotoPlan, held: HeldOutData, folder: Path) -> Blend:
    """Find the best place between the start and the running average, and set its weights.

    Rows and photos count alike. Half of what counts on photos is the share of those of the labels
    that get theirs, the other half the AUROC of these against photos of none.

    Args:
        model: The trained network with its optimizer; its head is linear in the embedding, and has
            one output more than there are labels.
        plan: Which places to try.
        held: What to choose by.
        folder: Of the run; what was found is kept there.
    """
    file = folder / _FILE
    tried: list[Blend] = []
    if file.is_file():
        tried = [Blend(**each) for each in json.loads(file.read_text("utf-8"))]
    for share in plan.blends[len(tried) :]:
        _set(model, share)
        tried.append(measure_blend(model, held, share))
        file.write_text(json.dumps([asdict(each) for each in tried], indent=1), "utf-8")
    best = max(tried, key=lambda each: each.worth)
    _set(model, best.share)
    return best


def measure_blend(model: keras.Model, held: HeldOutData, share: float) -> Blend:
    """Find out what a network is worth with the weights that it has now.

    Args:
        model: Its head is linear in the embedding, and has one output more than there are labels.
        held: What it is measured on.
        share: Where its weights lie.
    """
    head = model.get_layer(_HEAD).get_weights()
    return _measured(Embedder(model, held.spec), head, held, share)


def refit_head(
    model: keras.Model, blend: Blend, learned: LabelledImages, plan: PhotoPlan, held: HeldOutData
) -> Blend:
    """Fit the head anew at the size that is served, and keep it where it is better.

    Most steps saw smaller images, and the head was fitted to the last weights, not to the blended
    ones. A logistic regression tells other things from the labels better than the trained head.

    Args:
        model: The network with the chosen weights; its head is linear in the embedding.
        blend: What they are worth.
        learned: Images that were learned from.
        plan: Regularisation of the regression.
        held: What to choose by.

    Returns:
        What the kept head is worth.
    """
    head = model.get_layer(_HEAD)
    embedder = Embedder(model, held.spec)
    classes = model.outputs[0].shape[-1]
    probe = fit_probe(embedder.embed(learned), learned.labels, classes, plan.probe_c)
    refitted = _measured(embedder, [probe.kernel, probe.bias], held, blend.share)
    if refitted.worth <= blend.worth:
        return blend
    head.set_weights([probe.kernel, probe.bias])
    return refitted


def _measured(
    embedder: Embedder, head: Sequence[NDArray[np.float32]], held: HeldOutData, share: float
) -> Blend:
    """Return what a network with a head, its kernel and bias, is worth."""
    kernel, bias = head
    rows = LabelledImages(list(held.rows.images), held.rows.labels)
    of_rows = embedder.embed(rows) @ kernel + bias
    right = float((of_rows[:, :-1].argmax(axis=1) == rows.labels).mean())
    photos = LabelledImages(held.photos.images, held.photos.labels)
    of_photos = embedder.embed(photos).astype(np.float64) @ kernel + bias
    answers = PhotoPredictions(
        held.photos,
        of_photos[:, :-1].argmax(axis=1).astype(np.int64),
        np.asarray(logsumexp(of_photos[:, :-1], axis=1) - of_photos[:, -1]),
    )
    return Blend(share, right, (right + _worth(answers)) / 2)


def _set(model: keras.Model, share: float) -> None:
    weights = model.optimizer.blend(share)
    for variable in model.trainable_variables:
        variable.assign(weights[variable.path])


def _worth(answers: PhotoPredictions) -> float:
    """Return the mean of accuracy on the labels and AUROC against photos of none."""
    known = answers.photos.known
    right = float((answers.labels == answers.photos.labels)[known].mean())
    return (right + float(roc_auc_score(known, answers.scores))) / 2
