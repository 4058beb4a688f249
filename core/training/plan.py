"""Several recipes in turn, and the weights of VGG16 that some begin with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from core.bundle.config import Pretrained
from core.bundle.folder import Bundle
from core.errors import TenSightError, TrainingError
from core.settings import Settings
from core.training.data.datasets import (
    CIFAR10_LABELS,
    Dataset,
    find_tiny_train,
    load_tiny_held_out,
)
from core.training.data.photos import NONE, read_labels
from core.training.data.real_photos import find_real_photos
from core.training.evaluation.measure import photos_folder
from core.training.fit import Reporter, refuse_unfinished
from core.training.learned import run_folder
from core.training.networks.vgg16 import adopt_vgg16, describe_vgg16, published_vgg16
from core.training.recipes import RECIPES, VGG16, Recipe
from core.training.train import train

__all__ = ["Outcome", "plan", "train_all"]


@dataclass(frozen=True)
class Outcome:
    """What became of one name of `train_all`.

    Attributes:
        name: A recipe's, or `vgg16`.
        result: The model; or the weights; or what went wrong; None where the run waits for
            TensorFlow to export it.
    """

    name: str
    result: Bundle | Pretrained | TenSightError | None


def plan() -> list[str]:
    """Names of all recipes in the order in which to train them, and `vgg16` where it is due."""
    names: list[str] = []
    for recipe in RECIPES.values():
        if recipe.body == VGG16 and VGG16 not in names:
            names.append(VGG16)
        names.append(recipe.name)
    return names


def train_all(
    names: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    *,
    seed: int,
    resume: bool,
    reporter: Callable[[str], AbstractContextManager[Reporter]],
    vgg16_weights: str | None = None,
    recipes: Mapping[str, Recipe] = RECIPES,
    extra: Path | None = None,
) -> Iterator[Outcome]:
    """Train recipes, one after the other; where one fails, go on with the next.

    Args:
        names: Recipes, and `vgg16`, for the weights that some begin with.
        dataset: As in `train`.
        settings: As in `train`.
        seed: As in `train`.
        resume: Go on with runs that stopped; begin where there is none.
        reporter: Gives one for each run; it is given the run's name, and which of the photos of
            `extra` it leaves out.
        vgg16_weights: `imagenet` or a path, to take these weights in place of those that
            `describe_vgg16` finds.
        recipes: By name.
        extra: As in `train`.

    Raises:
        TenSightError: Something is missing, or an unfinished run is there: nothing was begun.
    """
    _require(names, dataset, settings, resume, vgg16_weights, recipes)
    none = 0
    if extra is not None:
        none = list(read_labels(extra, dataset.labels).values()).count(NONE)
    without_body = False
    for name in names:
        try:
            lost = none if name != VGG16 and not _learns_none(recipes[name]) else 0
            with reporter(name + _left_out(lost)) as hears:
                if name != VGG16:
                    if without_body and recipes[name].body == VGG16:
                        raise TrainingError(
                            f"{name} begins with weights of VGG16, and to make them failed. Train "
                            f"{VGG16} first."
                        )
                    result: Bundle | Pretrained | None = train(
                        recipes[name],
                        dataset,
                        settings,
                        seed=seed,
                        resume=resume,
                        reporter=hears,
                        command=shlex.join(
                            ["tensight", "train", name, "--seed", str(seed)]
                            + (["--extra", extra.name] if extra is not None else [])
                        ),
                        extra=extra,
                    )
                elif vgg16_weights is not None:
                    result = adopt_vgg16(vgg16_weights, settings)
                else:
                    result = describe_vgg16(settings)
            yield Outcome(name, result)
        except TenSightError as error:
            without_body |= name == VGG16
            yield Outcome(name, error)


def _learns_none(recipe: Recipe) -> bool:
    """Return whether it can learn from photos of none of the labels."""
    return recipe.outliers > 0 or recipe.plan is not None


def _left_out(photos: int) -> str:
    if photos == 0:
        return ""
    some = "1 photo" if photos == 1 else f"{photos} photos"
    return f" (left out: {some} of none, which this recipe cannot learn from)"


def _require(
    names: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    resume: bool,
    vgg16_weights: str | None,
    recipes: Mapping[str, Recipe],
) -> None:
    """Find out whether recipes can be trained, before the first of them takes hours.

    Raises:
        DataError: Images or weights are missing, or the labels of photos are wrong.
        TrainingError: `resume` is off, and there is an unfinished run.
    """
    if any(recipes[name].plan is not None for name in names if name != VGG16):
        find_real_photos(settings)
    if dataset.labels == CIFAR10_LABELS and not all(
        name != VGG16 and recipes[name].plan is not None for name in names
    ):
        load_tiny_held_out(settings)
    if (folder := photos_folder(settings, dataset.labels)) is not None:
        read_labels(folder, dataset.labels)
    if VGG16 in names:
        if vgg16_weights is None:
            describe_vgg16(settings)
        else:
            published_vgg16(vgg16_weights)
    for recipe in (recipes[name] for name in names if name != VGG16):
        if not resume:
            refuse_unfinished(run_folder(recipe, settings))
        if recipe.body is not None and VGG16 not in names:
            describe_vgg16(settings)
        if recipe.photos or recipe.outliers:
            find_tiny_train(settings)
        if recipe.prepare is not None:
            network = recipe.build(recipe.shape, len(dataset.labels))
            recipe.prepare(network, dataset.train, recipe.input, settings)
