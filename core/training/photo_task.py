"""Fine-tuning of a network on a data set and real photos."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from core.settings import Settings
from core.training.data.datasets import Split
from core.training.data.photo_batches import (
    LabelledBatches,
    LabelledImages,
    PhotoBatches,
    PhotoTrainingData,
)
from core.training.data.real_photos import RealPhotos
from core.training.embedder import Embedder
from core.training.linear_probe import fit_linear_probe
from core.training.networks.optimizers import CosinePhase
from core.training.photo_plan import PhotoPlan
from core.training.recipe import Recipe
from core.training.task import RecipeTask, run_identity, set_initial_weights

__all__ = ["PhotoTask", "photo_run_identity", "plan_schedule"]

_HEAD = "logits"
_VALIDATION_ROWS = 1_000
# The head's weights for features of small variance must be large, so they take larger steps; this
# bounds the factor.
_MAX_HEAD_FACTOR = 5.0


@dataclass(frozen=True, eq=False)
class PhotoTask(RecipeTask):
    """Training of a recipe with a `PhotoPlan`; a `fit.TrainingTask`.

    The network has one output more than there are labels.

    Attributes:
        plan: The plan of the recipe.
        data: Training images.
        validation: Rows that epochs are validated on; the first 1,000 are used.
        photos: Photos that epochs are validated on too.
    """

    plan: PhotoPlan
    data: PhotoTrainingData
    validation: Split
    photos: RealPhotos

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the outcome beside the seed.

        Raises:
            DataError: The pretrained weights are missing.
        """
        return photo_run_identity(self.recipe, self.data, self.settings)

    def network(self) -> keras.Model:
        """Build the network of the recipe, for images of any size, with its frozen layers."""
        model = self.recipe.build(self.recipe.input_shape, self.classes + 1)
        for layer in model.layers:
            layer.trainable = layer.name.split("_")[0] not in self.plan.frozen_layers
        return model

    def start(self, model: keras.Model, steps: int) -> None:
        """Set the initial weights, fit the head as a linear probe, and compile the network.

        The probe is fitted at the image size of the first epoch.

        Args:
            model: The network.
            steps: Not used: the plan divides the steps.

        Raises:
            DataError: The pretrained weights are missing.
        """
        del steps
        set_initial_weights(model, self.recipe, self.data.rows, self.settings)
        images = self.data.probe_images(self.plan.probe_rows, self.seed)
        embeddings = Embedder(model, self.recipe.input_at(1)).embed(images)
        probe = fit_linear_probe(embeddings, images.labels, self.classes + 1, self.plan.probe_c)
        model.get_layer(_HEAD).set_weights([probe.kernel, probe.bias])
        factors = np.minimum(1 / probe.deviation, _MAX_HEAD_FACTOR)
        scales = {f"{_HEAD}/kernel": factors[:, None].astype(np.float32)}
        if self.recipe.step_scales is not None:
            scales |= self.recipe.step_scales(self.plan.stage_decay)
        schedule = plan_schedule(self.plan, self.batches)
        optimizer = self.recipe.anchored_optimizer.build(schedule, scales)
        self.compile(model, optimizer)

    def batches(self, epoch: int) -> PhotoBatches:
        """Return the training batches of an epoch."""
        return PhotoBatches(
            self.data,
            self.plan,
            self.recipe.input_at(epoch),
            rows=self.plan.phase_at(epoch).rows,
            batch_size=self.recipe.batch_size,
            crop_padding=self.recipe.crop_padding,
            cutout=self.recipe.cutout,
            seed=self.seed,
            epoch=epoch,
        )

    def held_out(self, epoch: int) -> LabelledBatches:
        """Return validation rows and photos at the image size of the epoch."""
        subset = self.validation.take(np.arange(min(len(self.validation), _VALIDATION_ROWS)))
        images = LabelledImages.from_split(subset).concat(LabelledImages.from_photos(self.photos))
        return LabelledBatches(images, self.recipe.input_at(epoch), self.classes + 1)

    def is_eligible(self, epoch: int) -> bool:
        """Check for the last epoch, whose moving average covers the whole run."""
        return epoch == self.epochs


def photo_run_identity(
    recipe: Recipe, data: PhotoTrainingData, settings: Settings
) -> dict[str, Any]:
    """Return what decides the outcome of a run with a plan beside its seed, as JSON types.

    Args:
        recipe: The recipe.
        data: Training images.
        settings: Where pretrained weights are looked for.

    Raises:
        DataError: The pretrained weights are missing.
    """
    counts = {"rows": len(data.rows), "photos": np.bincount(data.photos.labels).tolist()}
    return run_identity(recipe, data, counts, settings)


def plan_schedule(plan: PhotoPlan, batches: Callable[[int], Sized]) -> list[CosinePhase]:
    """Return the learning-rate schedule of a plan in steps.

    Args:
        plan: The plan, whose warm-up is a fraction of a phase.
        batches: Returns the batches of an epoch, counted from 1; all epochs of a phase have the
            same number.
    """
    schedule, epoch = [], 1
    for phase in plan.phases:
        steps = phase.epochs * len(batches(epoch))
        warm_up = round(phase.warm_up * steps)
        schedule.append(CosinePhase(steps, phase.peak_rate, phase.final_rate, warm_up))
        epoch += phase.epochs
    return schedule
