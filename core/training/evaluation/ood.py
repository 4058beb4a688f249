"""Out-of-distribution detection: parameters of each method, comparison and threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from core.photos.preprocess import resize
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import ModelOutputs, run_inference

__all__ = [
    "FALSE_NEGATIVE_RATE",
    "auroc",
    "compare_methods",
    "downscale",
    "fit_none_threshold",
    "fit_ood_params",
    "score_outputs",
    "subsample",
]

FALSE_NEGATIVE_RATE = 0.05
"""Fraction of in-distribution images that thresholds reject."""
_MAX_IMAGES = 3_000
_MAX_TRAIN_ROWS = 10_000
_AXES = 64
_COARSE_SIDE = 32
_CHUNK = 500


def subsample(split: Split, limit: int = _MAX_IMAGES) -> NDArray[np.uint8]:
    """Return at most `limit` images of a split, evenly spaced.

    Args:
        split: The split.
        limit: Maximum number of images.

    Returns:
        Images of shape (n, h, w, 3), uint8.
    """
    if len(split) <= limit:
        return split.images
    return split.images[np.linspace(0, len(split) - 1, limit).astype(np.int64)]


def downscale(
    classifier: Classifier, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Reduce images to the resolution of CIFAR-10 by the model's resize rule.

    Args:
        classifier: The model.
        images: Images, each of shape (h, w, 3), uint8.

    Returns:
        Images of shape (n, 32, 32, 3), uint8.
    """
    size = {"height": _COARSE_SIDE, "width": _COARSE_SIDE}
    spec = classifier.config.input.model_copy(update=size)
    return np.stack([resize(image, spec) for image in images])


def fit_ood_params(classifier: Classifier, train: Split) -> Mapping[VerdictMethod, OodParams]:
    """Compute the parameters of each method from training images.

    Args:
        classifier: The model; its last layer is linear in the embedding.
        train: Training rows, of which at most 10,000 are used.

    Returns:
        Parameters by method; for the model's own method those that it is served with.
    """
    outputs = run_inference(classifier, subsample(train, _MAX_TRAIN_ROWS), "train").outputs
    embedding = outputs.embedding.astype(np.float64)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    _, _, directions = np.linalg.svd(unit, full_matrices=False)
    axes: dict[str, NDArray[np.floating[Any]]] = {"axes": directions[:_AXES].T.astype(np.float32)}
    # The weights of the last layer by least squares on its outputs: the flatbuffer does not name
    # them, and its weights may be quantised.
    with_one = np.concatenate([embedding, np.ones((len(embedding), 1))], axis=1)
    weights = np.linalg.lstsq(with_one, outputs.logits.astype(np.float64), rcond=None)[0][:-1]
    differences = weights[:, :, None] - weights[:, None, :]
    fitted: dict[VerdictMethod, OodParams] = {
        "max_softmax": {},
        "energy": {},
        "gen": {},
        # In float16: the rounding error is far below the differences between the methods.
        "knn": axes
        | {"neighbours": project_embeddings(outputs.embedding, axes).astype(np.float16)},
        "fdbd": {
            "distances": np.linalg.norm(differences, axis=0).astype(np.float32),
            "center": embedding.mean(axis=0).astype(np.float32),
        },
    }
    return fitted | {classifier.config.verdict.method: classifier.ood_params}


def compare_methods(
    known: ModelOutputs,
    none: ModelOutputs,
    config: Config,
    ood_params: Mapping[VerdictMethod, OodParams],
) -> OodMetrics:
    """Measure how well each method separates in-distribution from out-of-distribution images.

    Args:
        known: Outputs on images of the labels.
        none: Outputs on other images.
        config: Configuration of the model, for calibration, method and threshold.
        ood_params: Parameters by method; methods without an entry are left out. The model's own
            method must be among them.
    """
    areas: dict[VerdictMethod, float] = {}
    false_positives: dict[VerdictMethod, float] = {}
    rejected: list[float] = []
    for method in (each for each in OOD_METHODS if each in ood_params):
        inside, outside = (
            score_outputs(method, group.outputs, config, ood_params[method])
            for group in (known, none)
        )
        areas[method] = auroc(inside, outside)
        threshold = np.quantile(inside, FALSE_NEGATIVE_RATE)
        false_positives[method] = float((outside >= threshold).mean())
        if method == config.verdict.method:
            rejected = [float((s < config.verdict.none_below).mean()) for s in (inside, outside)]
    return OodMetrics(
        known=known.name,
        none=none.name,
        n_known=len(known.outputs.logits),
        n_none=len(none.outputs.logits),
        auroc=areas,
        fpr95=false_positives,
        known_told_none=rejected[0],
        none_told_none=rejected[1],
    )


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve, 0 to 1, of scores that detect one of two groups.

    Args:
        inside: Scores of in-distribution images, which should be higher, shape (n,), n at least 1.
        outside: Scores of other images, shape (m,), m at least 1.
    """
    is_inside = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(is_inside, np.concatenate([inside, outside])))


def score_outputs(
    method: VerdictMethod, outputs: Outputs, config: Config, ood_params: OodParams
) -> NDArray[np.float64]:
    """Compute `known_scores` in chunks, which bounds the memory of nearest-neighbour search.

    Args:
        method: As for `known_scores`.
        outputs: As for `known_scores`; n at least 1.
        config: As for `known_scores`.
        ood_params: As for `known_scores`.

    Returns:
        Array of shape (n,), float64, higher for images of the labels.
    """
    parts = [
        known_scores(
            method,
            Outputs(
                outputs.logits[start : start + _CHUNK], outputs.embedding[start : start + _CHUNK]
            ),
            config,
            ood_params,
        )
        for start in range(0, len(outputs.logits), _CHUNK)
    ]
    return np.concatenate(parts)


def fit_none_threshold(
    groups: Sequence[NDArray[np.float64]], outliers: NDArray[np.float64] | None = None
) -> float:
    """Return the threshold on known_score at the equal error rate, or a lower one.

    At the equal error rate, in-distribution images are rejected as often as outliers are accepted.
    Where a threshold rejects more than 5% of the images of any group, the highest that does not is
    returned instead.

    Args:
        groups: Scores of in-distribution images, shape (n,) each. The group with the highest
            fraction of rejected images counts.
        outliers: Scores of other images, shape (n,); None where there are none, for the highest
            threshold that rejects at most 5%.
    """
    highest = min(
        float(np.quantile(group, FALSE_NEGATIVE_RATE, method="inverted_cdf")) for group in groups
    )
    if outliers is None:
        return highest
    thresholds = np.unique(np.concatenate([*groups, outliers]))
    rejected = np.max(
        [np.searchsorted(np.sort(group), thresholds) / len(group) for group in groups], axis=0
    )
    accepted = 1 - np.searchsorted(np.sort(outliers), thresholds) / len(outliers)
    # The first rises and the second falls with the threshold, so they cross once.
    return min(highest, float(thresholds[np.abs(rejected - accepted).argmin()]))
