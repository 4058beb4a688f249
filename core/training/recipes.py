"""Recipes: everything that decides what a training run gives, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import keras

from core.bundle import Family, Reported, View
from core.errors import ModelNotFoundError
from core.images import InputSpec
from core.training import networks

__all__ = ["RECIPES", "Recipe", "get_recipe"]

# Mean and standard deviation of CIFAR-10's training pixels.
_CIFAR10_INPUT = InputSpec(
    height=32,
    width=32,
    resize="squash",
    interpolation="bicubic",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)


@dataclass(frozen=True)
class Recipe:
    """One way to train a model.

    The optimizer is Adam with decoupled weight decay; the rate falls along half a cosine from
    `learning_rate` to 0 over all epochs.

    Attributes:
        name: Name of the recipe and of the model.
        title: What a person reads.
        description: One or two sentences for the card.
        family: As in config.json.
        build: (input shape, number of classes) -> Keras model that gives logits.
        input: The model's input.
        epochs: Most epochs.
        patience: Epochs without a better validation accuracy after which the run ends.
        batch_size: Images a step; an incomplete last batch is dropped.
        learning_rate: At the start.
        weight_decay: Share of a weight that is taken off at each step, times the rate.
        label_smoothing: 0 to 1.
        crop_padding: Pixels of reflected border from which random crops are cut.
        flip: Whether images are mirrored at random.
        views: What is averaged at test time, as in config.json.
        reported: Figures of the student report for its model of this name.
    """

    name: str
    title: str
    description: str
    family: Family
    build: Callable[[tuple[int, int, int], int], keras.Model]
    epochs: int
    patience: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    input: InputSpec = field(default=_CIFAR10_INPUT)
    views: tuple[View, ...] = ("identity", "mirror")
    reported: Reported | None = None


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="baseline",
            title="Baseline CNN",
            description="Two convolutions and two dense layers, the first network of the student "
            "report; trained longer, on mirrored and shifted images.",
            family="scratch",
            build=networks.baseline,
            epochs=30,
            patience=10,
            learning_rate=1e-3,
            weight_decay=1e-3,
            crop_padding=2,
            flip=True,
            reported=Reported(accuracy=0.6527, precision=0.6785, recall=0.6527, f1=0.6541),
        ),
        Recipe(
            name="classic",
            title="Classic CNN",
            description="Three convolutions with batch norm and dropout, the report's best network "
            "from scratch; trained longer, on mirrored and shifted images.",
            family="scratch",
            build=networks.classic,
            epochs=100,
            patience=20,
            learning_rate=2e-3,
            weight_decay=1e-3,
            crop_padding=2,
            flip=True,
            reported=Reported(accuracy=0.7446, precision=0.7518, recall=0.7446, f1=0.7467),
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Find a recipe by name.

    Raises:
        ModelNotFoundError: No recipe of that name; the message lists them.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise ModelNotFoundError(
            f"There is no recipe {name!r}. Recipes: {', '.join(sorted(RECIPES))}."
        ) from None
