"""Learning CIFAR-10's labels, or any others, by a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

import keras

from core.settings import Settings
from core.training.data.batches import (
    Batches,
    FixedBatches,
    LabelledAccuracy,
    PartialCrossentropy,
    TrainingData,
)
from core.training.data.datasets import Split
from core.training.networks.vgg16 import describe_vgg16, load_vgg16
from core.training.recipes import Recipe

__all__ = ["ClassificationTask", "described", "dtype_policy", "set_first_weights"]

# What of a recipe does not change the weights that come out.
_COSMETIC = {
    *("title", "description", "family", "views", "precision", "maps", "bundled"),
    *("offered", "license", "notes", "reported"),
    # Its weights are named beside the recipe.
    "body",
    # Described below, where there are such.
    *("plan", "scales", "head"),
}


@dataclass(frozen=True)
class ClassificationTask:
    """Training by a recipe; a `fit.Task`.

    Attributes:
        recipe: What to do.
        material: What to learn from.
        validation: Rows to choose the best epoch by.
        classes: Number of classes.
        seed: Of order and augmentation.
        settings: Where weights to begin with are looked for.
    """

    recipe: Recipe
    material: TrainingData
    validation: Split
    classes: int
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """That of the recipe."""
        return self.recipe.name

    @property
    def epochs(self) -> int:
        """Most epochs."""
        return self.recipe.epochs

    @property
    def patience(self) -> int:
        """Epochs without a better one."""
        return self.recipe.patience

    @property
    def identity(self) -> dict[str, Any]:
        """The recipe, its functions by their names, what it learns from, and weights to begin with.

        Raises:
            DataError: There are no such weights.
        """
        identity = {"recipe": described(self.recipe), "rows": len(self.material)}
        if self.material.extra:
            identity["extra"] = self.material.extra
        if self.recipe.body is not None:
            identity["body"] = describe_vgg16(self.settings).sha256
        return identity

    def network(self) -> keras.Model:
        """The recipe's network."""
        with dtype_policy("mixed_bfloat16" if self.recipe.mixed_precision else "float32"):
            return self.recipe.build(self.recipe.shape, self.classes)

    def start(self, model: keras.Model, steps: int) -> None:
        """Prepare and compile it as the recipe says.

        Raises:
            DataError: Weights that it begins with are missing.
        """
        set_first_weights(model, self.recipe, self.material.rows, self.settings)
        model.compile(
            optimizer=self.recipe.scheduled.build(steps),
            loss=PartialCrossentropy(self.recipe.label_smoothing),
            metrics=[LabelledAccuracy(name="accuracy")],
        )

    def batches(self, epoch: int) -> Batches:
        """What an epoch learns from."""
        return Batches(self.material, self.recipe, self.classes, self.seed, epoch)

    def held_out(self, epoch: int) -> FixedBatches:
        """Of the size that the epoch learns from: at another one a network is not at home."""
        return FixedBatches(self.validation, self.recipe.seen(epoch), self.classes)

    def may_end_with(self, epoch: int) -> bool:
        """Only an epoch of images of the size that is served."""
        return self.recipe.side(epoch) == self.recipe.input.height


def set_first_weights(model: keras.Model, recipe: Recipe, rows: Split, settings: Settings) -> None:
    """Set the weights that a recipe begins with.

    Args:
        model: What the recipe builds.
        recipe: Says which.
        rows: To learn from.
        settings: Where weights are looked for.

    Raises:
        DataError: They are missing.
    """
    if recipe.body is not None:
        load_vgg16(model, settings)
    if recipe.prepare is not None:
        recipe.prepare(model, rows, recipe.input, settings)


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras's policy for layers that are made meanwhile."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def described(recipe: Recipe) -> dict[str, Any]:
    """Return what decides the outcome of a run, of types that JSON has; functions by their name."""
    values = {
        field.name: getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name not in _COSMETIC
    }
    values |= {
        "build": recipe.build.__name__,
        "prepare": recipe.prepare.__name__ if recipe.prepare else None,
        "optimizer": {"kind": type(recipe.optimizer).__name__, **asdict(recipe.optimizer)},
        "input": recipe.input.model_dump(mode="json"),
    }
    if recipe.plan is not None:
        scales = recipe.scales.__name__ if recipe.scales else None
        head = recipe.head.__name__ if recipe.head else None
        values |= {"plan": asdict(recipe.plan), "scales": scales, "head": head}
    # As it will be read again: JSON knows no tuples.
    as_read: dict[str, Any] = json.loads(json.dumps(values))
    return as_read
