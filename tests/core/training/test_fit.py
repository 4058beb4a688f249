"""The training loop: checkpoints, resumption and choice of the epoch."""

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

from core.errors import DataError, TrainingError
from core.photos.preprocess import InputSpec
from core.training.data.batches import TrainingData
from core.training.networks.cnn import Shape
from core.training.networks.optimizers import AdamW, LookaheadSGD
from core.training.recipe import Recipe
from core.training.recipes import RECIPES, get_recipe
from tests.conftest import ROOT
from tests.support import made
from tests.support.fitting import LEARN, run


def _of_side(side: int) -> InputSpec:
    spec = get_recipe("mobilenet").input
    return spec.model_copy(update={"height": side, "width": side})


def _regularised(shape: Shape, classes: int) -> keras.Model:
    """Build the smallest network with the layers of classic that have a state of their own."""
    x = inputs = keras.layers.Input(shape)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
    x = keras.layers.Dropout(0.4)(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x))


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(get_recipe("baseline"), marks=pytest.mark.long),
        pytest.param(get_recipe("classic"), marks=pytest.mark.long),
        replace(get_recipe("classic"), name="regularised", build=_regularised),
        # Optimiser, number format and flips of scratch, and progressive resizing of mobilenet.
        pytest.param(
            made.like(
                "scratch",
                build=made.network,
                prepare=None,
                optimizer=LookaheadSGD(
                    0.02, 0.85, 1e-3, 64, warm_up=0.2, initial_factor=0.2, final_factor=0.1
                ),
            ),
            marks=pytest.mark.long,
        ),
        pytest.param(
            made.like(
                "mobilenet",
                build=made.network,
                prepare=None,
                input=_of_side(48),
                side_schedule=((0.0, 32), (0.5, 48)),
            ),
            marks=pytest.mark.long,
        ),
    ],
    ids=lambda recipe: recipe.name,
)
def test_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path, recipe: Recipe) -> None:
    recipe = replace(recipe, epochs=4, patience=4, batch_size=50)
    rows = TrainingData(LEARN.take(np.arange(200)))
    whole = run(recipe, tmp_path / "whole", made.Recorder(), data=rows)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "stopped", made.Recorder(stop_after=2), data=rows)
    resumed_reporter = made.Recorder()
    resumed = run(recipe, tmp_path / "stopped", resumed_reporter, resume=True, data=rows)
    assert [e.epoch for e in resumed_reporter.epochs] == [3, 4], "two epochs were not done again"
    assert resumed.best_epoch == whole.best_epoch
    assert (len(whole.sessions), len(resumed.sessions)) == (1, 2)
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=0.01, abs=1e-5)
        assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=0.01, abs=1e-5)


@pytest.mark.long
def test_killed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    """Kill a run after its second epoch or later, of eight."""
    recipe = "made.recipe(epochs=8, patience=8, optimizer=AdamW(1e-4))"
    program = (
        "from pathlib import Path\n"
        "from core.training.networks.optimizers import AdamW\n"
        "from tests.support import made\n"
        "from tests.support.fitting import run\n"
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
    assert done < 8, "it must be killed before its end"
    recipe_here = made.recipe(epochs=8, patience=8, optimizer=AdamW(1e-4))
    reporter = made.Recorder()
    resumed = run(recipe_here, tmp_path / "killed", reporter, resume=True)
    assert reporter.epochs[0].epoch == done + 1
    whole = run(recipe_here, tmp_path / "whole", made.Recorder())
    ours, theirs = resumed.history[-1], whole.history[-1]
    assert abs(ours.validation_accuracy - theirs.validation_accuracy) <= 0.003
    assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=0.01)


def test_unfinished_run_is_not_overwritten(tmp_path: Path) -> None:
    recipe = made.recipe()
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, made.Recorder(stop_after=1))
    with pytest.raises(TrainingError, match=r"unfinished run of 1 epochs.*--resume"):
        run(recipe, tmp_path, made.Recorder())
    with pytest.raises(TrainingError, match="another recipe"):
        run(made.recipe(optimizer=AdamW(0.5)), tmp_path, made.Recorder(), resume=True)
    assert run(recipe, tmp_path, made.Recorder(), resume=True).history[-1].epoch == 3


def test_finished_run_is_kept_when_another_starts(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run(made.recipe(epochs=1), folder, made.Recorder())
    run(made.recipe(epochs=2), folder, made.Recorder())
    kept = run(made.recipe(epochs=1), tmp_path / "run.previous", made.Recorder(), resume=True)
    assert kept.history == first.history


def test_best_and_last_checkpoints_are_kept(tmp_path: Path) -> None:
    done = run(made.recipe(), tmp_path, made.Recorder())
    kept = {f"epoch-{n:04}.keras" for n in (3, done.best_epoch)} | {"state.json"}
    assert {file.name for file in tmp_path.iterdir()} == kept


def test_best_epoch_has_the_best_validation_accuracy(tmp_path: Path) -> None:
    # At this learning rate the accuracy soon stops improving, so patience ends the run.
    recipe = made.recipe(epochs=30, patience=2, optimizer=AdamW(1.0))
    done = run(recipe, tmp_path, made.Recorder(), data=TrainingData(LEARN.take(np.arange(150))))
    accuracies = [epoch.validation_accuracy for epoch in done.history]
    assert done.best_epoch == 1 + accuracies.index(max(accuracies))
    assert len(done.history) == min(30, done.best_epoch + 2)


def test_best_epoch_has_the_served_image_size(tmp_path: Path) -> None:
    """Ignore epochs of smaller images, even where their own validation accuracy is higher."""
    growing = made.recipe(
        input=_of_side(48),
        side_schedule=((0.0, 32), (0.6, 48)),
        optimizer=AdamW(1e-4),
    )
    done = run(growing, tmp_path, made.Recorder())
    assert done.best_epoch == 3
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["finished"]
    with pytest.raises(TrainingError, match="the last must use the image size that is served"):
        run(replace(growing, epochs=1), tmp_path, made.Recorder())


def test_failed_start_keeps_the_last_run(tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise DataError("no weights")

    folder = tmp_path / "run"
    run(made.recipe(epochs=1), folder, made.Recorder())
    with pytest.raises(DataError, match="no weights"):
        run(made.recipe(epochs=1, prepare=refuse), folder, made.Recorder())
    assert run(made.recipe(epochs=1), folder, made.Recorder(), resume=True).best_epoch == 1


def test_recipe_without_epochs_is_refused(tmp_path: Path) -> None:
    for recipe in (
        made.recipe(epochs=0),
        made.recipe(epochs=0, side_schedule=((0.0, 32),)),
    ):
        with pytest.raises(TrainingError, match="has 0 epochs"):
            run(recipe, tmp_path, made.Recorder())


def test_less_than_one_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has less than one batch of images"):
        run(made.recipe(batch_size=1000), tmp_path, made.Recorder())


@pytest.mark.parametrize(
    "name",
    # The largest take up to a quarter of a minute; the tests above train small ones like them.
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in ("mobilenet", "scratch")))
        for name, recipe in sorted(RECIPES.items())
        # Recipes with a plan have their own task, see test_photo_task.py.
        if recipe.plan is None
    ],
)
def test_every_recipe_trains_two_steps(name: str, tmp_path: Path) -> None:
    recipe = replace(get_recipe(name), epochs=1, batch_size=16)
    if name == "mobilenet":
        # Its ImageNet weights are in no checkout; networks/test_imagenet.py loads them.
        sides = ((0.0, recipe.input.height),)
        recipe = replace(recipe, prepare=None, outliers_per_epoch=5, side_schedule=sides)
    if recipe.pretrained_body is not None:
        # Its weights are imported by another command; networks/test_vgg16.py loads them.
        recipe = replace(recipe, pretrained_body=None, outliers_per_epoch=5)
    rows, photos, outliers = (LEARN.take(np.arange(n)) for n in (33, 5, 10))
    data = TrainingData(rows) if not recipe.tiny_imagenet else TrainingData(rows, photos, outliers)
    reporter = made.Recorder()
    done = run(recipe, tmp_path, reporter, data=data)
    assert reporter.batches[-1] == (1, 2, 2)
    assert np.isfinite(done.history[0].loss)
