"""Learning a head on features that a network which is held fast gave once."""

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
from core.training.blend import HeldOutData
from core.training.data.batches import LabelledAccuracy, PartialCrossentropy, PrefetchDataset
from core.training.data.photo_batches import BatchSampler, LabelledImages, PhotoTrainingData
from core.training.data.photo_views import PhotoViews
from core.training.embedder import Embedder
from core.training.export.flatbuffer import EMBEDDING
from core.training.frozen_features import FEATURES, FrozenFeatures, compute_features
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import phase_rates, photo_identity
from core.training.recipes import Recipe
from core.training.task import set_first_weights

__all__ = ["HeadTask", "with_head"]

_LOGITS = "logits"


@dataclass(frozen=True, eq=False)
class HeadTask:
    """Training of a head by a recipe that has one; a `fit.Task`.

    Attributes:
        recipe: What to do.
        plan: The recipe's.
        head: The recipe's.
        material: What to learn from.
        features: Of these, by the network that is held fast.
        checked: Features of held-out images, and their labels, shapes (n, d) and (n,).
        classes: Number of labels; the head has one output more.
        seed: Of weights, dropout and order.
        identity: See `fit.Task`.
    """

    recipe: Recipe
    plan: PhotoPlan
    head: Callable[[int, int], keras.Model]
    material: PhotoTrainingData
    features: FrozenFeatures
    checked: tuple[NDArray[np.float32], NDArray[np.int64]]
    classes: int
    seed: int
    identity: dict[str, Any]

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        plan: PhotoPlan,
        head: Callable[[int, int], keras.Model],
        material: PhotoTrainingData,
        held: HeldOutData,
        *,
        classes: int,
        seed: int,
        settings: Settings,
    ) -> HeadTask:
        """Compute the features, or find those of the same recipe, images and weights.

        Args:
            recipe: What to do.
            plan: Its plan.
            head: Its head.
            material: What to learn from.
            held: What the head is validated on.
            classes: Number of labels.
            seed: Of everything.
            settings: Features are kept in `home`; and where weights are looked for.

        Raises:
            DataError: Weights that the recipe begins with are missing.
        """
        identity = photo_identity(recipe, material, settings)
        spec = recipe.input
        model = recipe.build((spec.height, spec.width, 3), classes + 1)
        set_first_weights(model, recipe, material.rows, settings)
        embedder = Embedder(model, spec, FEATURES)
        features = compute_features(
            embedder,
            material,
            PhotoViews(plan, spec, recipe.crop_padding),
            plan.views,
            seed,
            _features_folder(recipe, material, identity, seed, settings),
        )
        rows = LabelledImages(list(held.rows.images), held.rows.labels)
        every = rows.joined(LabelledImages(held.photos.images, held.photos.labels))
        checked = (features.standardised(embedder.embed(every)), every.labels)
        return cls(recipe, plan, head, material, features, checked, classes, seed, identity)

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

    def network(self) -> keras.Model:
        """Return the head alone."""
        return self.head(len(self.features), self.classes + 1)

    def start(self, model: keras.Model, steps: int) -> None:
        """Compile the head; the plan says how the steps are divided."""
        del steps
        optimizer = self.recipe.anchored.build(phase_rates(self.plan, self.batches))
        optimizer.build(model.trainable_variables)
        model.compile(
            optimizer=optimizer,
            loss=PartialCrossentropy(self.recipe.label_smoothing),
            metrics=[LabelledAccuracy(name="accuracy")],
        )

    def batches(self, epoch: int) -> PrefetchDataset:
        """Return what an epoch learns from."""
        rows, size = self.plan.phase(epoch).rows, self.recipe.batch_size
        draws = BatchSampler(self.material, self.plan, rows, size, (self.seed, epoch))
        return _FeatureBatches(self.material, self.features, draws)

    def held_out(self, epoch: int) -> PrefetchDataset:
        """Return the features of held-out rows and photos, the same for each epoch."""
        del epoch
        return _FixedFeatures(*self.checked, self.classes + 1)

    def may_end_with(self, epoch: int) -> bool:
        """Return whether it is the last: the running average is that of the whole run."""
        return epoch == self.epochs


class _FeatureBatches(PrefetchDataset):
    def __init__(
        self, material: PhotoTrainingData, features: FrozenFeatures, draws: BatchSampler
    ) -> None:
        super().__init__()
        self._material = material
        self._features = features
        self._draws = draws

    def __len__(self) -> int:
        return len(self._draws)

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows, photos, _ = self._draws.draw(i)
        labels = [self._material.rows.labels[rows], self._material.photos.labels[photos]]
        targets = np.eye(self._draws.none + 1, dtype=np.float32)[np.concatenate(labels)]
        return self._features.batch(self._draws, i), targets


class _FixedFeatures(PrefetchDataset):
    _SIZE = 500

    def __init__(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], classes: int
    ) -> None:
        super().__init__()
        self._features = features
        self._targets = np.eye(classes, dtype=np.float32)[labels]

    def __len__(self) -> int:
        return math.ceil(len(self._targets) / self._SIZE)

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        some = slice(i * self._SIZE, (i + 1) * self._SIZE)
        return self._features[some], self._targets[some]


def with_head(task: HeadTask, head: keras.Model, settings: Settings) -> keras.Model:
    """Return the whole network: what is held fast, and the running average of a head on it.

    Args:
        task: What was learned.
        head: The trained head with its optimizer; it takes standardised features.
        settings: Where weights are looked for.

    Raises:
        DataError: Weights that the recipe begins with are missing.
    """
    spec, features = task.recipe.input, task.features
    model = task.recipe.build((spec.height, spec.width, 3), task.classes + 1)
    set_first_weights(model, task.recipe, task.material.rows, settings)
    average = head.optimizer.blend(1.0)
    for name in (EMBEDDING, _LOGITS):
        layer = head.get_layer(name)
        kernel, bias = average[layer.kernel.path], average[layer.bias.path]
        if name == EMBEDDING:
            kernel = kernel / features.deviation[:, None]
            bias = bias - features.mean @ kernel
        model.get_layer(name).set_weights([kernel, bias])
    return model


def _features_folder(
    recipe: Recipe,
    material: PhotoTrainingData,
    identity: dict[str, Any],
    seed: int,
    settings: Settings,
) -> Path:
    """Return a folder whose name depends on everything that the features depend on."""
    plan = recipe.plan
    decisive = {
        "identity": {name: value for name, value in identity.items() if name != "recipe"},
        "build": recipe.build.__name__,
        "input": recipe.input.model_dump(mode="json"),
        "crop_padding": recipe.crop_padding,
        "plan": plan and [plan.blurred, plan.blurred_sides, plan.shrunk, plan.sharpened],
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    digest.update("".join(material.photos.paths.tolist()).encode())
    return settings.home / "features" / f"{recipe.name}-{digest.hexdigest()[:12]}"
