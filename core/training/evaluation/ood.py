"""How to tell images of none of the labels: which method, from what, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from core.bundle.config import Config, VerdictMethod
from core.bundle.leaderboard import OOD_METHODS
from core.bundle.metrics import OodMetrics
from core.inference.classifier import Classifier
from core.inference.engine import Outputs
from core.inference.known_score import OodParams, known_scores, project_embeddings
from core.photos.preprocess import crops, resize
from core.training.data.datasets import Split

__all__ = [
    "ModelOutputs",
    "accuracy_of",
    "coarse",
    "compare",
    "fit_ood_params",
    "run_inference",
    "scores_of",
    "some",
    "threshold",
]

_AT_MOST = 3_000
_TRAIN_ROWS = 10_000
_AXES = 64
_COARSE_SIDE = 32
_QUANTILE = 0.05
_ROWS = 500


@dataclass(frozen=True)
class ModelOutputs:
    """What a model gave on images of one kind.

    Attributes:
        what: Of which kind, for people.
        outputs: One row an image.
    """

    what: str
    outputs: Outputs


def run_inference(
    classifier: Classifier,
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    what: str,
) -> ModelOutputs:
    """Run a model on images, as it would be on photos of them.

    Args:
        classifier: The model.
        images: Each of shape (h, w, 3).
        what: Of which kind they are.
    """
    logits, embeddings = [], []
    spec = classifier.config.input
    for start in range(0, len(images), _ROWS):
        seen = [crops(image, spec) for image in images[start : start + _ROWS]]
        outputs = classifier.outputs_of_crops(seen)
        logits.append(outputs.logits)
        embeddings.append(outputs.embedding)
    return ModelOutputs(what, Outputs(np.concatenate(logits), np.concatenate(embeddings)))


def accuracy_of(group: ModelOutputs, split: Split) -> float:
    """Share of a split's images that got their label, from what a model gave on them."""
    return float((group.outputs.logits.argmax(axis=1) == split.labels).mean())


def some(split: Split, at_most: int = _AT_MOST) -> NDArray[np.uint8]:
    """Images of a split, evenly spread over it where there are too many."""
    if len(split) <= at_most:
        return split.images
    return split.images[np.linspace(0, len(split) - 1, at_most).astype(np.int64)]


def coarse(
    classifier: Classifier, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Images brought down to the detail of CIFAR-10's: shape (n, 32, 32, 3)."""
    size = {"height": _COARSE_SIDE, "width": _COARSE_SIDE}
    spec = classifier.config.input.model_copy(update=size)
    return np.stack([resize(image, spec) for image in images])


def fit_ood_params(classifier: Classifier, train: Split) -> Mapping[VerdictMethod, OodParams]:
    """What each method needs beside the outputs, from images that were learned from.

    Args:
        classifier: The model; its last layer is linear in the embedding.
        train: Rows to learn from; at most 10,000 are taken.
    """
    outputs = run_inference(classifier, some(train, _TRAIN_ROWS), "train").outputs
    embedding = outputs.embedding.astype(np.float64)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    _, _, directions = np.linalg.svd(unit, full_matrices=False)
    axes: dict[str, NDArray[np.floating[Any]]] = {"axes": directions[:_AXES].T.astype(np.float32)}
    # The last layer's weights, from what it did: they need not be known by name, nor unrounded.
    with_one = np.concatenate([embedding, np.ones((len(embedding), 1))], axis=1)
    weights = np.linalg.lstsq(with_one, outputs.logits.astype(np.float64), rcond=None)[0][:-1]
    differences = weights[:, :, None] - weights[:, None, :]
    fitted: dict[VerdictMethod, OodParams] = {
        "max_softmax": {},
        "energy": {},
        "gen": {},
        # Half the bytes of float32; what that changes is far less than what tells methods apart.
        "knn": axes
        | {"neighbours": project_embeddings(outputs.embedding, axes).astype(np.float16)},
        "fdbd": {
            "distances": np.linalg.norm(differences, axis=0).astype(np.float32),
            "center": embedding.mean(axis=0).astype(np.float32),
        },
    }
    # Of its own method, what it is served with.
    return fitted | {classifier.config.verdict.method: classifier.ood_params}


def compare(
    known: ModelOutputs,
    none: ModelOutputs,
    config: Config,
    ood_params: Mapping[VerdictMethod, OodParams],
) -> OodMetrics:
    """How well each method tells one group from the other.

    Args:
        known: Images of the labels.
        none: Others.
        config: The model's, for calibration, method and threshold.
        ood_params: What each method needs; those that are missing are left out.
    """
    areas: dict[VerdictMethod, float] = {}
    shares: dict[VerdictMethod, float] = {}
    told: list[float] = []
    truth = np.repeat([1, 0], [len(known.outputs.logits), len(none.outputs.logits)])
    for method in (each for each in OOD_METHODS if each in ood_params):
        inside, outside = (
            scores_of(method, group.outputs, config, ood_params[method]) for group in (known, none)
        )
        areas[method] = float(roc_auc_score(truth, np.concatenate([inside, outside])))
        shares[method] = float((outside >= np.quantile(inside, _QUANTILE)).mean())
        if method == config.verdict.method:
            told = [float((s < config.verdict.none_below).mean()) for s in (inside, outside)]
    return OodMetrics(
        known=known.what,
        none=none.what,
        n_known=len(known.outputs.logits),
        n_none=len(none.outputs.logits),
        auroc=areas,
        fpr95=shares,
        known_told_none=told[0],
        none_told_none=told[1],
    )


def scores_of(
    method: VerdictMethod, outputs: Outputs, config: Config, ood_params: OodParams
) -> NDArray[np.float64]:
    """`known_scores`, some rows at a time: each may be compared with thousands of neighbours."""
    parts = [
        known_scores(
            method,
            Outputs(
                outputs.logits[start : start + _ROWS], outputs.embedding[start : start + _ROWS]
            ),
            config,
            ood_params,
        )
        for start in range(0, len(outputs.logits), _ROWS)
    ]
    return np.concatenate(parts)


def threshold(groups: Sequence[NDArray[np.float64]]) -> float:
    """The known_score under which lies a twentieth of all, each group counting the same."""
    scores = np.concatenate(groups)
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    return float(np.quantile(scores, _QUANTILE, weights=weights, method="inverted_cdf"))
