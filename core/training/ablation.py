"""What the student report tried on its network, one change at a time: short runs of `classic`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import keras

from core.bundle.config import TrainingRun
from core.bundle.folder import Bundle
from core.settings import Settings
from core.training.ablation_results import Ablation, Option, keep_ablation
from core.training.data.datasets import Dataset, hold_out
from core.training.evaluation.measure import EvaluationData
from core.training.fit import Reporter, refuse_unfinished
from core.training.learned import run_folder
from core.training.networks import cnn
from core.training.networks.optimizers import SGD, AdamW
from core.training.recipes import Recipe, get_recipe
from core.training.train import train

__all__ = ["CHANGES", "SEEDS", "ablate"]

SEEDS = (0, 1, 2)
_COMMAND = "tensight train --ablation"
_RATE, _DECAY = 2e-3, 1e-3


def _deeper(shape: cnn.Shape, classes: int) -> keras.Model:
    return cnn.classic(shape, classes, deeper=True)


def _without_dropout(shape: cnn.Shape, classes: int) -> keras.Model:
    return cnn.classic(shape, classes, dropout=0.0)


def _more_dropout(shape: cnn.Shape, classes: int) -> keras.Model:
    return cnn.classic(shape, classes, dropout=0.6)


def _without_batch_norm(shape: cnn.Shape, classes: int) -> keras.Model:
    return cnn.classic(shape, classes, batch_norm=False)


_BASE: Mapping[str, Any] = {
    "epochs": 4,
    "patience": 4,
    "optimizer": AdamW(_RATE, _DECAY),
    # What rounding costs is no matter here.
    "precision": "float32",
}
# What is changed -> fields of the recipe that differ.
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "a layer added: a second convolution of 128 filters": {"build": _deeper},
    "dropout 0": {"build": _without_dropout},
    "dropout 0.6": {"build": _more_dropout},
    # Of the few epochs of the others, none would be stopped early.
    "up to 12 epochs, early stopping: the first that is no better ends it": {
        "epochs": 12,
        "patience": 1,
    },
    "learning rate five times higher": {"optimizer": AdamW(5 * _RATE, _DECAY)},
    "learning rate five times lower": {"optimizer": AdamW(_RATE / 5, _DECAY)},
    "no augmentation": {"crop_padding": 0, "flip": None},
    "no batch norm": {"build": _without_batch_norm},
    "SGD for Adam: Nesterov momentum 0.9, rate 0.05": {"optimizer": SGD(0.05, 0.9, _DECAY)},
    "12 epochs, no early stopping": {"epochs": 12, "patience": 12},
}


def ablate(
    dataset: Dataset,
    settings: Settings,
    *,
    resume: bool,
    reporter: Callable[[str], AbstractContextManager[Reporter]],
    base: Recipe | None = None,
    changes: Mapping[str, Mapping[str, Any]] = CHANGES,
    seeds: Sequence[int] = SEEDS,
) -> Ablation | None:
    """Train every option with every seed, and keep the figures beside the models.

    Args:
        dataset: As in `train`.
        settings: As in `train`; the runs and their models are kept in `home`.
        resume: Go on with the runs that are there.
        reporter: Gives one for each run, whose name it is given.
        base: What is changed; None: `classic`, of four epochs.
        changes: What is changed -> fields of the recipe that differ.
        seeds: At least two.

    Returns:
        What they came to; None where Keras runs on another backend than TensorFlow: as in `train`.

    Raises:
        TrainingError: As in `train`; or `resume` is off, and there is an unfinished run.
    """
    base = replace(get_recipe("classic"), **_BASE) if base is None else base
    folder = settings.home / "ablation"
    apart = settings.model_copy(update={"models": folder / "models", "home": folder})
    recipes = {
        (change, seed): replace(base, name=f"{base.name}-{number}-{seed}", **fields)
        for number, (change, fields) in enumerate(changes.items())
        for seed in seeds
    }
    if not resume:
        for recipe in recipes.values():
            refuse_unfinished(run_folder(recipe, apart))
    # Nobody asks these of things that they do not know; to measure it would take longer than they.
    rows = EvaluationData(dataset, *hold_out(dataset.train), None)
    bundles: dict[tuple[str, int], Bundle] = {}
    for (change, seed), recipe in recipes.items():
        with reporter(f"{change}, seed {seed}") as hears:
            bundle = train(
                recipe,
                dataset,
                apart,
                seed=seed,
                resume=resume,
                reporter=hears,
                command=_COMMAND,
                rows=rows,
            )
        if bundle is not None:
            bundles[change, seed] = bundle
    if not bundles:
        return None
    metrics = {key: bundle.metrics() for key, bundle in bundles.items()}
    training = [bundle.config.training for bundle in bundles.values()]
    first = next(iter(metrics.values()))
    done = Ablation(
        base=f"{base.name}, {base.epochs} epochs of batches of {base.batch_size}, {base.optimizer}",
        command=_COMMAND,
        data=first.test.data,
        seeds=tuple(seeds),
        n_validation=first.validation.n,
        n_test=first.test.n,
        options=tuple(
            Option(
                change=change,
                validation=tuple(metrics[change, seed].validation.accuracy for seed in seeds),
                test=tuple(metrics[change, seed].test.accuracy for seed in seeds),
                epochs=tuple(len(metrics[change, seed].curves) for seed in seeds),
            )
            for change in changes
        ),
        made=TrainingRun(
            epochs=sum(each.epochs for each in training),
            seconds=sum(each.training_seconds for each in metrics.values()),
            hardware=", ".join(dict.fromkeys(each.hardware for each in training)),
            date=training[-1].date,
            commit=", ".join(dict.fromkeys(each.commit for each in training)),
        ),
    )
    keep_ablation(settings.models, done)
    return done
