"""Training of a head on the features of a frozen network, which are computed once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from core.settings import Settings
from core.training.data.batches import Batch, PrefetchDataset
from core.training.data.photo_batches import BatchSampler, LabelledImages, PhotoTrainingData
from core.training.data.photo_views import PhotoViews
from core.training.embedder import Embedder
from core.training.frozen_features import FrozenFeatures, compute_features, head_input
from core.training.interpolation import SelectionData
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import photo_run_identity, plan_schedule
from core.training.recipe import Recipe
from core.training.task import RecipeTask, set_initial_weights

__all__ = ["HeadTask", "attach_head"]


@dataclass(frozen=True, eq=False)
class HeadTask(RecipeTask):
    """Training of the head of a recipe with `build_head`; a `fit.TrainingTask`.

    The head has one output more than there are labels.

    Attributes:
        plan: The plan of the recipe.
        build_head: Builds the head.
        data: Training images.
        features: Their features.
        validation: Standardised features of validation images, shape (n, d), float32, and their
            labels, shape (n,), int64.
        identity: What decides the outcome beside the seed.
    """

    plan: PhotoPlan
    build_head: Callable[[int, int], keras.Model]
    data: PhotoTrainingData
    features: FrozenFeatures
    validation: tuple[NDArray[np.float32], NDArray[np.int64]]
    identity: dict[str, Any]

    @classmethod
    def prepare(
        cls,
        recipe: Recipe,
        plan: PhotoPlan,
        build_head: Callable[[int, int], keras.Model],
        data: PhotoTrainingData,
        held_out: SelectionData,
        *,
        classes: int,
        seed: int,
        settings: Settings,
    ) -> HeadTask:
        """Compute the features, or reuse those of the same images, views and weights.

        Args:
            recipe: The recipe.
            plan: Its plan.
            build_head: Its head.
            data: Training images.
            held_out: Validation images.
            classes: Number of labels.
            seed: Seed of views, weights, dropout and order.
            settings: Features are stored in `home`; pretrained weights are looked for as usual.

        Raises:
            DataError: The pretrained weights are missing.
        """
        identity = photo_run_identity(recipe, data, settings)
        spec = recipe.input
        model = recipe.build((spec.height, spec.width, 3), classes + 1)
        set_initial_weights(model, recipe, data.rows, settings)
        embedder = Embedder(model, spec, head_input(model))
        features = compute_features(
            embedder,
            data,
            PhotoViews(plan, spec, recipe.crop_padding),
            plan.feature_views,
            seed,
            _features_folder(recipe, data, identity, seed, settings),
        )
        images = LabelledImages.from_split(held_out.rows).concat(
            LabelledImages.from_photos(held_out.photos)
        )
        return cls(
            recipe=recipe,
            classes=classes,
            seed=seed,
            settings=settings,
            plan=plan,
            build_head=build_head,
            data=data,
            features=features,
            validation=(features.standardised(embedder.embed(images)), images.labels),
            identity=identity,
        )

    def network(self) -> keras.Model:
        """Build the head alone."""
        return self.build_head(len(self.features), self.classes + 1)

    def start(self, model: keras.Model, steps: int) -> None:
        """Compile the head.

        Args:
            model: The head.
            steps: Not used: the plan divides the steps.
        """
        del steps
        schedule = plan_schedule(self.plan, self.batches)
        optimizer = self.recipe.anchored_optimizer.build(schedule)
        self.compile(model, optimizer)

    def batches(self, epoch: int) -> PrefetchDataset:
        """Return the training batches of an epoch."""
        rows, size = self.plan.phase_at(epoch).rows, self.recipe.batch_size
        sampler = BatchSampler(self.data, self.plan, rows, size, (self.seed, epoch))
        return _FeatureBatches(self.data, self.features, sampler)

    def held_out(self, epoch: int) -> PrefetchDataset:
        """Return the features of validation rows and photos, the same in each epoch."""
        del epoch
        return _FixedFeatures(*self.validation, self.classes + 1)

    def is_eligible(self, epoch: int) -> bool:
        """Check for the last epoch, whose moving average covers the whole run."""
        return epoch == self.epochs


class _FeatureBatches(PrefetchDataset):
    """Batches of features, one random view for each image, with one-hot targets."""

    def __init__(
        self, data: PhotoTrainingData, features: FrozenFeatures, sampler: BatchSampler
    ) -> None:
        super().__init__()
        self._data = data
        self._features = features
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)

    def batch(self, i: int) -> Batch:
        rows, photos, _ = self._sampler.draw(i)
        labels = [self._data.rows.labels[rows], self._data.photos.labels[photos]]
        targets = np.eye(self._sampler.none + 1, dtype=np.float32)[np.concatenate(labels)]
        return self._features.batch(self._sampler, i), targets


class _FixedFeatures(PrefetchDataset):
    """Features in their order with one-hot targets."""

    _BATCH_SIZE = 500

    def __init__(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], classes: int
    ) -> None:
        super().__init__()
        self._features = features
        self._targets = np.eye(classes, dtype=np.float32)[labels]

    def __len__(self) -> int:
        return math.ceil(len(self._targets) / self._BATCH_SIZE)

    def batch(self, i: int) -> Batch:
        rows = slice(i * self._BATCH_SIZE, (i + 1) * self._BATCH_SIZE)
        return self._features[rows], self._targets[rows]


def attach_head(task: HeadTask, head: keras.Model, settings: Settings) -> keras.Model:
    """Return the whole network: the frozen layers and the moving average of a trained head.

    The standardisation of the features is folded into the first layer of the head.

    Args:
        task: The task that trained the head.
        head: The head with its optimiser.
        settings: Where pretrained weights are looked for.

    Raises:
        DataError: The pretrained weights are missing.
    """
    spec, features = task.recipe.input, task.features
    model = task.recipe.build((spec.height, spec.width, 3), task.classes + 1)
    set_initial_weights(model, task.recipe, task.data.rows, settings)
    average = head.optimizer.interpolate(1.0)
    trained = [layer for layer in head.layers if layer.weights]
    for i, layer in enumerate(trained):
        kernel, bias = average[layer.kernel.path], average[layer.bias.path]
        if i == 0:
            kernel = kernel / features.deviation[:, None]
            bias = bias - features.mean @ kernel
        model.get_layer(layer.name).set_weights([kernel, bias])
    return model


def _features_folder(
    recipe: Recipe,
    data: PhotoTrainingData,
    identity: dict[str, Any],
    seed: int,
    settings: Settings,
) -> Path:
    """Return a folder whose name is a digest of everything that the features depend on."""
    plan = recipe.plan
    views = plan and [
        plan.blurred_fraction,
        plan.blurred_sides,
        plan.shrunk_fraction,
        plan.sharpened_fraction,
    ]
    dependencies = {
        "identity": {name: value for name, value in identity.items() if name != "recipe"},
        "build": recipe.build.__name__,
        "input": recipe.input.model_dump(mode="json"),
        "crop_padding": recipe.crop_padding,
        "plan": views,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(dependencies, sort_keys=True).encode())
    digest.update("".join(data.photos.paths.tolist()).encode())
    return settings.home / "features" / f"{recipe.name}-{digest.hexdigest()[:12]}"
