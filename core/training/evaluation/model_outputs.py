"""Outputs of a model on many images, with the preprocessing and the views of serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.bundle.folder import Bundle
from core.inference.classifier import Classifier
from core.inference.engine import Outputs
from core.photos.preprocess import crops
from core.training.data.datasets import Split

__all__ = ["ModelOutputs", "bundle_accuracy", "run_inference"]

_CHUNK = 500


@dataclass(frozen=True)
class ModelOutputs:
    """Outputs of a model on a set of images.

    Attributes:
        name: Human-readable description of the images.
        outputs: Logits and embeddings, one row per image.
    """

    name: str
    outputs: Outputs


def run_inference(
    classifier: Classifier,
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
    name: str,
) -> ModelOutputs:
    """Compute the outputs of a model on images.

    Args:
        classifier: The model.
        images: Images, each of shape (h, w, 3), uint8; at least one.
        name: Human-readable description of the images.
    """
    logits, embeddings = [], []
    spec = classifier.config.input
    for start in range(0, len(images), _CHUNK):
        prepared = [crops(image, spec) for image in images[start : start + _CHUNK]]
        outputs = classifier.outputs_of_crops(prepared)
        logits.append(outputs.logits)
        embeddings.append(outputs.embedding)
    return ModelOutputs(name, Outputs(np.concatenate(logits), np.concatenate(embeddings)))


def bundle_accuracy(bundle: Bundle, split: Split, *, threads: int, one_view: bool = False) -> float:
    """Measure the accuracy of a stored model, 0 to 1.

    Args:
        bundle: The model.
        split: Rows, whose labels are indices of the model's labels; at least one.
        threads: Number of threads for one inference.
        one_view: Whether to leave out test-time augmentation.
    """
    if one_view:
        config = bundle.config.model_copy(update={"views": ("identity",)})
        bundle = replace(bundle, config=config)
    classifier = Classifier(bundle, threads=threads)
    logits = run_inference(classifier, split.images, "").outputs.logits
    return float((logits.argmax(axis=1) == split.labels).mean())
