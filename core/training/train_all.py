"""Train several recipes in turn, with the pretrained weights of VGG16 that some start from."""

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
from core.training.data.cifar10 import CIFAR10_LABELS
from core.training.data.datasets import Dataset
from core.training.data.labelled_photos import NONE, find_photos_folder, read_labels
from core.training.data.real_photos import find_real_photos
from core.training.data.tiny_imagenet import ensure_tiny_train, load_tiny_held_out
from core.training.fit import Reporter, check_no_unfinished_run
from core.training.networks.vgg16 import describe_vgg16, import_vgg16, read_vgg16
from core.training.recipe import Recipe
from core.training.recipes import RECIPES, VGG16
from core.training.run import RunOptions, run_folder
from core.training.train import train

__all__ = ["Outcome", "train_all", "training_order"]


@dataclass(frozen=True)
class Outcome:
    """Outcome of one name of `train_all`.

    Attributes:
        name: Name of a recipe, or `vgg16`.
        result: The model, the pretrained weights or the error; None for a finished run that waits
            for its export with TensorFlow.
    """

    name: str
    result: Bundle | Pretrained | TenSightError | None


def training_order() -> list[str]:
    """Return the names of all recipes, with `vgg16` before the first that starts from it."""
    names: list[str] = []
    for recipe in RECIPES.values():
        if recipe.pretrained_body == VGG16 and VGG16 not in names:
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
    """Train recipes one after the other; where one fails, continue with the next.

    Args:
        names: Names of recipes, and `vgg16` for the pretrained weights that some start from.
        dataset: Data set, as in `train`.
        settings: Settings, as in `train`.
        seed: Seed of all runs.
        resume: Continue runs that stopped, and start those that do not exist.
        reporter: Opens the reporter of a run from its display name, which mentions the photos of
            `extra` that the recipe cannot use.
        vgg16_weights: `imagenet` or a path: weights of VGG16 to import in place of those that
            `describe_vgg16` finds.
        recipes: Recipes by name.
        extra: Folder of the user's own photos, as in `train`.

    Yields:
        The outcome of each name.

    Raises:
        TenSightError: Data or weights are missing, or an unfinished run exists; nothing was
            started.
    """
    _check_prerequisites(names, dataset, settings, resume, vgg16_weights, recipes)
    none = 0
    if extra is not None:
        none = list(read_labels(extra, dataset.labels).values()).count(NONE)
    vgg16_failed = False
    for name in names:
        try:
            result: Bundle | Pretrained | None
            unused = none if name != VGG16 and not _uses_none(recipes[name]) else 0
            with reporter(name + _unused_note(unused)) as progress:
                if name == VGG16:
                    result = (
                        describe_vgg16(settings)
                        if vgg16_weights is None
                        else import_vgg16(vgg16_weights, settings)
                    )
                else:
                    if vgg16_failed and recipes[name].pretrained_body == VGG16:
                        raise TrainingError(
                            f"{name} starts from the pretrained weights of VGG16, which could not "
                            "be obtained. Run `tensight pretrain` first."
                        )
                    result = train(
                        recipes[name],
                        dataset,
                        settings,
                        RunOptions(seed, resume, progress, extra),
                        command=_command(name, seed, extra),
                    )
            yield Outcome(name, result)
        except TenSightError as error:
            vgg16_failed |= name == VGG16
            yield Outcome(name, error)


def _command(name: str, seed: int, extra: Path | None) -> str:
    """Return the command line that trains a recipe, for the card."""
    own = [] if extra is None else ["--extra", extra.name]
    return shlex.join(["tensight", "train", name, "--seed", str(seed), *own])


def _uses_none(recipe: Recipe) -> bool:
    """Check whether a recipe can be trained on photos of none of the labels."""
    return recipe.outliers_per_epoch > 0 or recipe.plan is not None


def _unused_note(photos: int) -> str:
    if photos == 0:
        return ""
    some = "1 photo" if photos == 1 else f"{photos} photos"
    return f" (without {some} of none, which this recipe cannot use)"


def _check_prerequisites(
    names: Sequence[str],
    dataset: Dataset,
    settings: Settings,
    resume: bool,
    vgg16_weights: str | None,
    recipes: Mapping[str, Recipe],
) -> None:
    """Check that all recipes can be trained, before the first one runs for hours.

    Raises:
        DataError: Images or weights are missing, or a labels.csv is invalid.
        TrainingError: `resume` is off, and an unfinished run exists.
    """
    if any(recipes[name].plan is not None for name in names if name != VGG16):
        find_real_photos(settings)
    if dataset.labels == CIFAR10_LABELS and not all(
        name != VGG16 and recipes[name].plan is not None for name in names
    ):
        load_tiny_held_out(settings)
    if (folder := find_photos_folder(settings, dataset.labels)) is not None:
        read_labels(folder, dataset.labels)
    if VGG16 in names:
        if vgg16_weights is None:
            describe_vgg16(settings)
        else:
            read_vgg16(vgg16_weights)
    for recipe in (recipes[name] for name in names if name != VGG16):
        if not resume:
            check_no_unfinished_run(run_folder(recipe, settings))
        if recipe.pretrained_body is not None and VGG16 not in names:
            describe_vgg16(settings)
        in_probe = recipe.plan is not None and recipe.plan.tiny_imagenet_weight > 0
        if recipe.tiny_imagenet or recipe.outliers_per_epoch or in_probe:
            ensure_tiny_train(settings)
        if recipe.prepare is not None:
            network = recipe.build(recipe.input_shape, len(dataset.labels))
            recipe.prepare(network, dataset.train, recipe.input, settings)
