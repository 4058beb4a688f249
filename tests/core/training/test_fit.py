from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from core.errors import DataError, ModelNotFoundError, TrainingError
from core.photos.preprocess import InputSpec
from core.settings import Settings
from core.training.data.batches import TrainingData
from core.training.data.datasets import hold_out
from core.training.fit import FitResult, fit
from core.training.networks import cnn
from core.training.networks.optimizers import AdamW, LookaheadSGD
from core.training.recipes import RECIPES, Recipe, get_recipe
from core.training.task import ClassificationTask
from tests import made
from tests.conftest import ROOT


def _of_side(side: int) -> InputSpec:
    spec = get_recipe("mobilenet").input
    return spec.model_copy(update={"height": side, "width": side})


def any_size(shape: cnn.Shape, classes: int) -> keras.Model:
    """The smallest network that takes images of any size, as mobilenet does."""
    x = inputs = keras.layers.Input(shape)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


LEARN, VALIDATION = hold_out(made.dataset().train)
MATERIAL = TrainingData(LEARN)


def run(
    recipe: Recipe,
    folder: Path,
    reporter: made.Recorder,
    *,
    resume: bool = False,
    material: TrainingData = MATERIAL,
) -> FitResult:
    return fit(
        ClassificationTask(recipe, material, VALIDATION, 3, 5, Settings()),
        folder=folder,
        resume=resume,
        reporter=reporter,
    )


@pytest.mark.parametrize(
    "recipe",
    [
        get_recipe("baseline"),
        get_recipe("classic"),
        # The optimizer, number format and flips of scratch, and mobilenet's growing images.
        made.like(
            "scratch",
            build=cnn.baseline,
            prepare=None,
            optimizer=LookaheadSGD(0.02, 0.85, 1e-3, 64, warm_up=0.2, first=0.2, last=0.1),
        ),
        made.like(
            "mobilenet",
            build=any_size,
            prepare=None,
            input=_of_side(48),
            sides=((0.0, 32), (0.5, 48)),
        ),
    ],
    ids=lambda recipe: recipe.name,
)
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=4, patience=4, batch_size=50)
    whole = run(recipe, tmp_path / "whole", made.Recorder())
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "stopped", made.Recorder(stop_after=2))
    resumed_reporter = made.Recorder()
    resumed = run(recipe, tmp_path / "stopped", resumed_reporter, resume=True)
    assert [e.epoch for e in resumed_reporter.epochs] == [3, 4], "two epochs were not done again"
    assert resumed.best_epoch == whole.best_epoch
    assert (len(whole.sessions), len(resumed.sessions)) == (1, 2)
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.01, abs=1e-5)
        assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=0.01, abs=1e-5)


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Killed in its third epoch or later, of eight, at a rate that still learns at the end."""
    recipe = "made.recipe(epochs=8, patience=8, optimizer=AdamW(1e-4))"
    program = (
        "from pathlib import Path\n"
        "from core.training.networks.optimizers import AdamW\n"
        "from tests import made\n"
        "from tests.core.training.test_fit import run\n"
        f"run({recipe}, Path({str(tmp_path / 'killed')!r}), made.Recorder())\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state = tmp_path / "killed" / "state.json"
    while not state.is_file() or len(json.loads(state.read_text())["history"]) < 2:
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    done = len(json.loads(state.read_text())["history"])
    assert done < 8, "it was to be killed before its end"
    recipe_here = made.recipe(epochs=8, patience=8, optimizer=AdamW(1e-4))
    reporter = made.Recorder()
    resumed = run(recipe_here, tmp_path / "killed", reporter, resume=True)
    assert reporter.epochs[0].epoch == done + 1
    whole = run(recipe_here, tmp_path / "whole", made.Recorder())
    ours, theirs = resumed.history[-1], whole.history[-1]
    assert abs(ours.validation_accuracy - theirs.validation_accuracy) <= 0.003
    assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=0.01)


def test_what_does_not_change_the_weights_makes_no_other_run() -> None:
    recipe = made.recipe()

    def identity(recipe: Recipe) -> object:
        return ClassificationTask(recipe, MATERIAL, VALIDATION, 3, 5, Settings()).identity

    other = replace(recipe, title="another", offered=not recipe.offered, views=("identity",))
    assert identity(other) == identity(recipe)
    assert identity(replace(recipe, crop_padding=3)) != identity(recipe)


def test_an_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    recipe = made.recipe()
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, made.Recorder(stop_after=1))
    with pytest.raises(TrainingError, match=r"unfinished run of 1 epochs.*--resume"):
        run(recipe, tmp_path, made.Recorder())
    with pytest.raises(TrainingError, match="another recipe"):
        run(made.recipe(optimizer=AdamW(0.5)), tmp_path, made.Recorder(), resume=True)
    assert run(recipe, tmp_path, made.Recorder(), resume=True).history[-1].epoch == 3


def test_a_finished_run_is_kept_when_another_begins(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run(made.recipe(epochs=1), folder, made.Recorder())
    run(made.recipe(epochs=2), folder, made.Recorder())
    kept = run(made.recipe(epochs=1), tmp_path / "run.previous", made.Recorder(), resume=True)
    assert kept.history == first.history


def test_only_the_best_and_the_last_checkpoint_are_kept(tmp_path: Path) -> None:
    done = run(made.recipe(), tmp_path, made.Recorder())
    kept = {f"epoch-{n:04}.keras" for n in (3, done.best_epoch)} | {"state.json"}
    assert {file.name for file in tmp_path.iterdir()} == kept


def test_the_best_epoch_is_the_one_of_the_best_validation_accuracy(tmp_path: Path) -> None:
    # A rate this high learns nothing after the first epochs, so patience ends the run.
    recipe = made.recipe(epochs=30, patience=2, optimizer=AdamW(1.0))
    done = run(recipe, tmp_path, made.Recorder(), material=TrainingData(LEARN.take(np.arange(150))))
    accuracies = [epoch.validation_accuracy for epoch in done.history]
    assert done.best_epoch == 1 + accuracies.index(max(accuracies))
    assert len(done.history) == min(30, done.best_epoch + 2)


def test_weights_are_of_an_epoch_of_the_size_that_is_served(tmp_path: Path) -> None:
    """Epochs of smaller images may well be the better ones, each measured at its own size."""
    growing = made.recipe(
        build=any_size, input=_of_side(48), sides=((0.0, 32), (0.6, 48)), optimizer=AdamW(1e-4)
    )
    done = run(growing, tmp_path, made.Recorder())
    assert done.best_epoch == 3
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["finished"]
    with pytest.raises(TrainingError, match="its images of the size that is served"):
        run(replace(growing, epochs=1), tmp_path, made.Recorder())


def test_a_run_that_cannot_begin_leaves_the_last_one(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise DataError("no weights")

    folder = tmp_path / "run"
    run(made.recipe(epochs=1), folder, made.Recorder())
    with pytest.raises(DataError, match="no weights"):
        run(made.recipe(epochs=1, prepare=refuse), folder, made.Recorder())
    assert run(made.recipe(epochs=1), folder, made.Recorder(), resume=True).best_epoch == 1


def test_no_epochs_are_refused(tmp_path: Path) -> None:
    for recipe in (
        made.recipe(epochs=0),
        made.recipe(epochs=0, build=any_size, sides=((0.0, 32),)),
    ):
        with pytest.raises(TrainingError, match="has 0 epochs"):
            run(recipe, tmp_path, made.Recorder())


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="in an epoch is less than one batch"):
        run(made.recipe(batch_size=1000), tmp_path, made.Recorder())


@pytest.mark.parametrize(
    "name",
    # The largest takes a quarter of a minute; above, a small one learns as it does.
    [
        pytest.param(name, marks=[pytest.mark.long] * (name == "mobilenet"))
        for name, recipe in sorted(RECIPES.items())
        # Those that learn from real photos do so by a task of their own: test_photo_training.py.
        if recipe.plan is None
    ],
)
def test_every_recipe_makes_two_steps(name: str, tmp_path: Path) -> None:
    recipe = replace(get_recipe(name), epochs=1, batch_size=16)
    if name == "mobilenet":
        # Its ImageNet weights are in no checkout; test_pretrained.py loads them.
        sides = ((0.0, recipe.input.height),)
        recipe = replace(recipe, prepare=None, outliers=5, sides=sides)
    if recipe.body is not None:
        # Its weights are made by another command; test_vgg16.py loads them.
        recipe = replace(recipe, body=None, outliers=5)
    rows, photos, outliers = (LEARN.take(np.arange(n)) for n in (33, 5, 10))
    material = TrainingData(rows) if not recipe.photos else TrainingData(rows, photos, outliers)
    reporter = made.Recorder()
    done = run(recipe, tmp_path, reporter, material=material)
    assert reporter.batches[-1] == (1, 2, 2)
    assert np.isfinite(done.history[0].loss)


def test_an_unknown_recipe_names_those_there_are() -> None:
    with pytest.raises(
        ModelNotFoundError, match=r"no recipe 'clasic'\. Recipes: baseline, classic, "
    ):
        get_recipe("clasic")
