"""Ablation study: short runs of `classic` with one change each, as the student report tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import keras

from core.bundle.config import TrainingRun
from core.bundle.folder import Bundle
from core.settings import Settings
from core.training.ablation_results import Ablation, Option, write_ablation
from core.training.data.datasets import Dataset, hold_out
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.fit import Reporter, check_no_unfinished_run
from core.training.networks import cnn
from core.training.networks.optimizers import SGD, AdamW
from core.training.recipe import Recipe
from core.training.recipes import get_recipe
from core.training.run import RunOptions, run_folder
from core.training.train import train

__all__ = ["CHANGES", "SEEDS", "ablate"]

SEEDS = (0, 1, 2)
_COMMAND = "tensight train --ablation"
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 1e-3


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
    "optimizer": AdamW(_LEARNING_RATE, _WEIGHT_DECAY),
    # Quantisation is not part of the comparison.
    "precision": "float32",
}
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    "one layer more: a second convolution of 128 filters": {"build": _deeper},
    "dropout 0": {"build": _without_dropout},
    "dropout 0.6": {"build": _more_dropout},
    # The few epochs of the other runs would never be stopped early.
    "up to 12 epochs, early stopping with a patience of 1": {
        "epochs": 12,
        "patience": 1,
    },
    "learning rate five times higher": {"optimizer": AdamW(5 * _LEARNING_RATE, _WEIGHT_DECAY)},
    "learning rate five times lower": {"optimizer": AdamW(_LEARNING_RATE / 5, _WEIGHT_DECAY)},
    "no augmentation": {"crop_padding": 0, "flip": None},
    "no batch normalisation": {"build": _without_batch_norm},
    "SGD instead of AdamW: Nesterov momentum 0.9, learning rate 0.05": {
        "optimizer": SGD(0.05, 0.9, _WEIGHT_DECAY)
    },
    "12 epochs, no early stopping": {"epochs": 12, "patience": 12},
}
"""Fields of the recipe that differ, by description of the change."""


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
    """Train every change with every seed, and write the results among the models.

    Args:
        dataset: Data set, as in `train`.
        settings: Settings, as in `train`; the runs and their models are stored in `home`.
        resume: Continue the runs that exist.
        reporter: Opens the reporter of a run from its display name.
        base: Recipe to change; None for `classic` with four epochs.
        changes: Fields of the recipe that differ, by description of the change.
        seeds: At least two seeds.

    Returns:
        The results; None where Keras runs on another backend than TensorFlow, as in `train`.

    Raises:
        TrainingError: As in `train`; or `resume` is off, and an unfinished run exists.
    """
    base = replace(get_recipe("classic"), **_BASE) if base is None else base
    folder = settings.home / "ablation"
    ablation_settings = settings.model_copy(update={"models": folder / "models", "home": folder})
    recipes = {
        (change, seed): replace(base, name=f"{base.name}-{number}-{seed}", **fields)
        for number, (change, fields) in enumerate(changes.items())
        for seed in seeds
    }
    if not resume:
        for recipe in recipes.values():
            check_no_unfinished_run(run_folder(recipe, ablation_settings))
    # Out-of-distribution detection is not compared; measuring it would take longer than training.
    data = EvaluationData(dataset, *hold_out(dataset.train), None)
    bundles: dict[tuple[str, int], Bundle] = {}
    for (change, seed), recipe in recipes.items():
        with reporter(f"{change}, seed {seed}") as progress:
            options = RunOptions(seed, resume, progress)
            bundle = train(recipe, dataset, ablation_settings, options, command=_COMMAND, data=data)
        if bundle is not None:
            bundles[change, seed] = bundle
    if not bundles:
        return None
    results = _summarise(base, changes, seeds, bundles)
    write_ablation(settings.models, results)
    return results


def _summarise(
    base: Recipe,
    changes: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    bundles: Mapping[tuple[str, int], Bundle],
) -> Ablation:
    """Collect the metrics of all runs."""
    metrics = {key: bundle.metrics() for key, bundle in bundles.items()}
    training = [bundle.config.training for bundle in bundles.values()]
    first = next(iter(metrics.values()))
    return Ablation(
        base=f"{base.name}, {base.epochs} epochs, batch size {base.batch_size}, {base.optimizer}",
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
            epochs=sum(each.epochs or 0 for each in training),
            seconds=sum(each.training_seconds for each in metrics.values()),
            hardware=", ".join(dict.fromkeys(each.hardware for each in training)),
            date=training[-1].date,
            commit=", ".join(dict.fromkeys(each.commit for each in training)),
        ),
    )
