"""Training of a recipe on a data set, without real photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras

from core.training.data.batches import Batches, FixedBatches, TrainingData
from core.training.data.datasets import Split
from core.training.task import RecipeTask, run_identity, set_initial_weights

__all__ = ["ClassificationTask"]


@dataclass(frozen=True, eq=False)
class ClassificationTask(RecipeTask):
    """Training of a recipe without a plan; a `fit.TrainingTask`.

    Attributes:
        data: Training images.
        validation: Rows that the best epoch is selected on.
    """

    data: TrainingData
    validation: Split

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the outcome beside the seed.

        Raises:
            DataError: The pretrained weights are missing.
        """
        return run_identity(self.recipe, self.data, {"rows": len(self.data)}, self.settings)

    def network(self) -> keras.Model:
        """Build the network of the recipe."""
        with _dtype_policy("mixed_bfloat16" if self.recipe.mixed_precision else "float32"):
            return self.recipe.build(self.recipe.input_shape, self.classes)

    def start(self, model: keras.Model, steps: int) -> None:
        """Set the initial weights and compile the network.

        Args:
            model: The network.
            steps: Number of steps of the run.

        Raises:
            DataError: The pretrained weights are missing.
        """
        set_initial_weights(model, self.recipe, self.data.rows, self.settings)
        self.compile(model, self.recipe.scheduled_optimizer.build(steps))

    def batches(self, epoch: int) -> Batches:
        """Return the training batches of an epoch."""
        return Batches(self.data, self.recipe, self.classes, self.seed, epoch)

    def held_out(self, epoch: int) -> FixedBatches:
        """Return the validation rows at the image size of the epoch.

        At another size the features have other statistics, and the accuracy would say little.
        """
        return FixedBatches(self.validation, self.recipe.input_at(epoch), self.classes)

    def is_eligible(self, epoch: int) -> bool:
        """Check whether an epoch was trained at the image size that is served."""
        return self.recipe.side_at(epoch) == self.recipe.input.height


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Set the Keras dtype policy of the layers that are created inside the context."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
