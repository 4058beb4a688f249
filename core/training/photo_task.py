"""Learning a data set's labels, and to tell other things from them, with real photos."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from core.settings import Settings
from core.training.data.batches import LabelledAccuracy, PartialCrossentropy
from core.training.data.datasets import Split
from core.training.data.photo_batches import (
    LabelledBatches,
    LabelledImages,
    PhotoBatches,
    PhotoTrainingData,
)
from core.training.data.real_photos import RealPhotos
from core.training.embedder import Embedder
from core.training.networks.optimizers import CosinePhase
from core.training.networks.vgg16 import describe_vgg16
from core.training.photo_plan import PhotoPlan
from core.training.probe import fit_probe
from core.training.recipes import Recipe
from core.training.task import described, set_first_weights

__all__ = ["PhotoTask", "phase_rates", "photo_identity"]

_HEAD = "logits"
_VALIDATION_ROWS = 1_000
# Weights of numbers that vary little must be large, and learn with larger steps, up to this.
_MAX_HEAD_FACTOR = 5.0


@dataclass(frozen=True)
class PhotoTask:
    """Training by a recipe that has a `PhotoPlan`; a `fit.Task`.

    Attributes:
        recipe: What to do.
        plan: The recipe's.
        material: What to learn from.
        validation: Rows that the epochs are validated on; the first 1,000 are taken.
        photos: Photos that they are validated on too.
        classes: Number of labels; the network has one output more.
        seed: Of order and augmentation.
        settings: Where weights to begin with are looked for.
    """

    recipe: Recipe
    plan: PhotoPlan
    material: PhotoTrainingData
    validation: Split
    photos: RealPhotos
    classes: int
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """Return the name of the recipe."""
        return self.recipe.name

    @property
    def epochs(self) -> int:
        """Return the number of epochs."""
        return self.recipe.epochs

    @property
    def patience(self) -> int:
        """Return the number of epochs: the plan is gone through to its end."""
        return self.recipe.epochs

    @property
    def identity(self) -> dict[str, Any]:
        """Return what else decides the outcome.

        Raises:
            DataError: Weights that it begins with are missing.
        """
        return photo_identity(self.recipe, self.material, self.settings)

    def network(self) -> keras.Model:
        """Return the recipe's network, for images of any size."""
        model = self.recipe.build(self.recipe.shape, self.classes + 1)
        for layer in model.layers:
            layer.trainable = layer.name.split("_")[0] not in self.plan.frozen
        return model

    def start(self, model: keras.Model, steps: int) -> None:
        """Set the weights that the recipe begins with, fit the head, and compile.

        The head is fitted to images of the size of the first epoch.

        Args:
            model: The network.
            steps: Of the whole run; the plan says how they are divided.

        Raises:
            DataError: Weights that it begins with are missing.
        """
        del steps
        set_first_weights(model, self.recipe, self.material.rows, self.settings)
        data = self.material.probed(self.plan.probe_rows, self.seed)
        embeddings = Embedder(model, self.recipe.seen(1)).embed(data)
        probe = fit_probe(embeddings, data.labels, self.classes + 1, self.plan.probe_c)
        model.get_layer(_HEAD).set_weights([probe.kernel, probe.bias])
        scales = {} if self.recipe.scales is None else dict(self.recipe.scales(self.plan.per_stage))
        head = np.minimum(1 / probe.deviation, _MAX_HEAD_FACTOR)
        scales[f"{_HEAD}/kernel"] = head[:, None].astype(np.float32)
        optimizer = self.recipe.anchored.build(phase_rates(self.plan, self.batches), scales)
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer=optimizer,
            loss=PartialCrossentropy(self.recipe.label_smoothing),
            metrics=[LabelledAccuracy(name="accuracy")],
        )

    def batches(self, epoch: int) -> PhotoBatches:
        """Return what an epoch learns from."""
        return PhotoBatches(
            self.material,
            self.plan,
            self.recipe.seen(epoch),
            rows=self.plan.phase(epoch).rows,
            batch_size=self.recipe.batch_size,
            crop_padding=self.recipe.crop_padding,
            seed=self.seed,
            epoch=epoch,
        )

    def held_out(self, epoch: int) -> LabelledBatches:
        """Return rows and photos, of the size that the epoch learns from."""
        rows = LabelledImages(
            list(self.validation.images[:_VALIDATION_ROWS]),
            self.validation.labels[:_VALIDATION_ROWS],
        )
        photos = LabelledImages(self.photos.images, self.photos.labels)
        return LabelledBatches(rows.joined(photos), self.recipe.seen(epoch), self.classes + 1)

    def may_end_with(self, epoch: int) -> bool:
        """Return whether it is the last: the running average is that of the whole run."""
        return epoch == self.epochs


def photo_identity(
    recipe: Recipe, material: PhotoTrainingData, settings: Settings
) -> dict[str, Any]:
    """Return what decides the outcome of a run, of types that JSON has.

    Args:
        recipe: Its functions are told by their names.
        material: It is told how much there is.
        settings: Where weights to begin with are looked for.

    Raises:
        DataError: These are missing.
    """
    identity: dict[str, Any] = {
        "recipe": described(recipe),
        "rows": len(material.rows),
        "photos": np.bincount(material.photos.labels).tolist(),
    }
    if material.extra:
        identity["extra"] = material.extra
    if recipe.body is not None:
        identity["body"] = describe_vgg16(settings).sha256
    return identity


def phase_rates(plan: PhotoPlan, batches: Callable[[int], Sized]) -> list[CosinePhase]:
    """Return the learning rates of a plan's phases.

    Args:
        plan: Says them for shares of a phase.
        batches: The batches of an epoch, the first being 1; all epochs of a phase have as many.
    """
    rates, epoch = [], 1
    for phase in plan.phases:
        steps = phase.epochs * len(batches(epoch))
        rates.append(CosinePhase(steps, phase.peak, phase.last, round(phase.warm_up * steps)))
        epoch += phase.epochs
    return rates
