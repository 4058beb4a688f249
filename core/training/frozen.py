"""The baseline that fine-tuning must beat: a logistic regression on frozen embeddings."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from core.bundle.metrics import RealPhotoMetrics
from core.errors import TrainingError
from core.settings import Settings
from core.training.data.photo_batches import LabelledImages
from core.training.data.real_photos import RealPhotos
from core.training.embedder import Embedder
from core.training.evaluation.measure import EvaluationData, figures_on_parts
from core.training.evaluation.real_photos import PhotoPredictions
from core.training.export.flatbuffer import EMBEDDING
from core.training.frozen_features import FEATURES
from core.training.probe import fit_probe
from core.training.recipes import Recipe
from core.training.task import set_first_weights

__all__ = ["measure_frozen"]


def measure_frozen(
    recipe: Recipe, rows: EvaluationData, settings: Settings
) -> dict[str, RealPhotoMetrics | None]:
    """Measure a recipe's network with the weights that it begins with.

    A multinomial logistic regression on its embeddings of the photos to learn from, at the size
    that is served, has an output for each label and one for none of them; the score is the log
    odds of the labels against none.

    Args:
        recipe: It has a plan, and sets the weights that it begins with.
        rows: Its real photos are learned from and measured on.
        settings: Where these weights are looked for.

    Returns:
        As `figures_on_parts`.

    Raises:
        DataError: The weights are missing.
        TrainingError: The recipe has no plan, or there are no real photos.
    """
    if recipe.plan is None or rows.real is None:
        raise TrainingError(f"{recipe.name} learns from no real photos.")
    classes = len(rows.dataset.labels)
    model = recipe.build((recipe.input.height, recipe.input.width, 3), classes + 1)
    set_first_weights(model, recipe, rows.learn, settings)
    embedder = Embedder(model, recipe.input, EMBEDDING if recipe.head is None else FEATURES)
    train = LabelledImages(rows.real.train.images, rows.real.train.labels)
    probe = fit_probe(embedder.embed(train), train.labels, classes + 1, recipe.plan.probe_c)

    def answer(photos: RealPhotos) -> PhotoPredictions:
        if not len(photos):
            return PhotoPredictions(photos, np.empty(0, np.int64), np.empty(0))
        found = embedder.embed(LabelledImages(photos.images, photos.labels))
        logits = found.astype(np.float64) @ probe.kernel + probe.bias
        scores = np.asarray(logsumexp(logits[:, :-1], axis=1) - logits[:, -1])
        return PhotoPredictions(photos, logits[:, :-1].argmax(axis=1).astype(np.int64), scores)

    return figures_on_parts(rows.real, answer(rows.real.kept_back), answer)
