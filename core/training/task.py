"""Base of the tasks that train a recipe, and the weights that a recipe starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from core.settings import Settings
from core.training.data.batches import TrainingData
from core.training.data.datasets import Split
from core.training.data.photo_batches import PhotoTrainingData
from core.training.networks.losses import LabelledAccuracy, PartialCrossentropy
from core.training.networks.vgg16 import describe_vgg16, load_vgg16
from core.training.recipe import Recipe
from core.training.run_identity import describe_recipe

__all__ = ["RecipeTask", "run_identity", "set_initial_weights"]


@dataclass(frozen=True, eq=False)
class RecipeTask:
    """Base of all implementations of `fit.TrainingTask`.

    Attributes:
        recipe: The recipe.
        classes: Number of labels.
        seed: Seed of weights, dropout, order and augmentation.
        settings: Where pretrained weights are looked for.
    """

    recipe: Recipe
    classes: int
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """Return the name of the recipe."""
        return self.recipe.name

    @property
    def epochs(self) -> int:
        """Return the maximum number of epochs."""
        return self.recipe.epochs

    @property
    def patience(self) -> int:
        """Return the number of epochs without improvement after which the run ends."""
        return self.recipe.patience

    def compile(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        """Compile a model with the loss of the recipe and the metric `accuracy`."""
        # TensorFlow would trace the step that creates the variables of the optimiser a second time.
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer=optimizer,
            loss=PartialCrossentropy(self.recipe.label_smoothing),
            metrics=[LabelledAccuracy(name="accuracy")],
        )


def set_initial_weights(
    model: keras.Model, recipe: Recipe, rows: Split, settings: Settings
) -> None:
    """Set the pretrained or data-dependent weights that a recipe starts from.

    Args:
        model: Network that the recipe builds.
        recipe: The recipe.
        rows: Training rows.
        settings: Where pretrained weights are looked for.

    Raises:
        DataError: The weights are missing.
    """
    if recipe.pretrained_body is not None:
        load_vgg16(model, settings)
    if recipe.prepare is not None:
        recipe.prepare(model, rows, recipe.input, settings)


def run_identity(
    recipe: Recipe,
    data: TrainingData | PhotoTrainingData,
    counts: dict[str, Any],
    settings: Settings,
) -> dict[str, Any]:
    """Return what decides the outcome of a run beside its seed, as JSON types.

    Args:
        recipe: The recipe.
        data: Training images.
        counts: Numbers of training images.
        settings: Where pretrained weights are looked for.

    Raises:
        DataError: The pretrained weights are missing.
    """
    identity = {"recipe": describe_recipe(recipe), **counts}
    if data.extra:
        identity["extra"] = data.extra
    if recipe.pretrained_body is not None:
        identity["body"] = describe_vgg16(settings).sha256
    return identity
