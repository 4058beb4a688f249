"""Baseline for fine-tuning: a linear probe on the features of the pretrained network."""

from __future__ import annotations

from core.bundle.metrics import RealPhotoMetrics
from core.errors import TrainingError
from core.settings import Settings
from core.training.data.photo_batches import LabelledImages
from core.training.embedder import Embedder
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.real_photos import metrics_by_part
from core.training.export.evidence_maps import EMBEDDING
from core.training.frozen_features import head_input
from core.training.interpolation import predict_with_head
from core.training.linear_probe import fit_linear_probe
from core.training.recipe import Recipe
from core.training.task import set_initial_weights

__all__ = ["measure_frozen_baseline"]


def measure_frozen_baseline(
    recipe: Recipe, data: EvaluationData, settings: Settings
) -> dict[str, RealPhotoMetrics | None]:
    """Evaluate a linear probe on the weights that a recipe starts from.

    It is fitted on the training photos at the served image size, with an output for each label and
    one for none of them.

    Args:
        recipe: A recipe with a plan.
        data: Real photos to train on and to evaluate on.
        settings: Where pretrained weights are looked for.

    Returns:
        Metrics as `metrics_by_part` returns them.

    Raises:
        DataError: The pretrained weights are missing.
        TrainingError: The recipe has no plan, or there are no real photos.
    """
    if recipe.plan is None or data.real is None:
        raise TrainingError(f"{recipe.name} is not trained on real photos.")
    classes = len(data.dataset.labels)
    model = recipe.build((recipe.input.height, recipe.input.width, 3), classes + 1)
    set_initial_weights(model, recipe, data.learn, settings)
    layer = EMBEDDING if recipe.build_head is None else head_input(model)
    embedder = Embedder(model, recipe.input, layer)
    train = LabelledImages.from_photos(data.real.train)
    embeddings = embedder.embed(train)
    probe = fit_linear_probe(embeddings, train.labels, classes + 1, recipe.plan.probe_c)
    return metrics_by_part(
        data.real, lambda photos: predict_with_head(embedder, probe.kernel, probe.bias, photos)
    )
