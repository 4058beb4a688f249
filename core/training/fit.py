"""The training loop: a checkpoint after each epoch, from which a stopped run goes on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from core.errors import TrainingError
from core.settings import Settings
from core.training.batches import (
    Batches,
    FixedBatches,
    LabelledAccuracy,
    Material,
    PartialCrossentropy,
)
from core.training.data import Split
from core.training.origin import commit, hardware, today
from core.training.recipes import Recipe

__all__ = ["Epoch", "Reporter", "Run", "Session", "fit", "refuse_unfinished"]

# What of a recipe does not change the weights that come out.
_COSMETIC = {"title", "description", "family", "views", "precision", "license", "notes", "reported"}


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave.

    Losses are what the recipe makes small, label smoothing included, in nats; accuracies are shares
    of 1.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Session:
    """One stretch of a run: where, when and by what code its epochs were made."""

    hardware: str
    date: str
    commit: str


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        sessions: Its stretches, oldest first: one more for each time it was resumed.
        model: The model of the epoch with the best validation accuracy, among the epochs of images
            of the size that is served.
        history: All epochs, oldest first.
        best_epoch: Number of that epoch, from 1.
    """

    model: keras.Model
    history: tuple[Epoch, ...]
    best_epoch: int
    sessions: tuple[Session, ...]


class Reporter(Protocol):
    """Hears how a run gets on."""

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        """After each batch: how many of the epoch's are done."""

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        """After each epoch: what it gave, most epochs of the run, whether it is the best so far."""


def fit(
    recipe: Recipe,
    material: Material,
    validation: Split,
    *,
    classes: int,
    seed: int,
    settings: Settings,
    folder: Path,
    resume: bool,
    reporter: Reporter,
) -> Run:
    """Train by a recipe.

    After every epoch a checkpoint stands in `folder`; a run killed at any moment goes on from the
    last one with `resume`, on the same batches at the same rates.

    Args:
        recipe: What to do.
        material: What to learn from.
        validation: Rows to choose the best epoch by.
        classes: Number of classes.
        seed: Of weights, order and augmentation.
        settings: For the recipe's `prepare`.
        folder: Where the run is kept; made if needed.
        resume: Go on with the run in `folder`; without one there, begin. Off: a finished run there
            is moved to a folder beside it, `NAME.previous`.
        reporter: Hears of every batch and epoch.

    Raises:
        DataError: The recipe's `prepare` finds no weights to begin with.
        TrainingError: There are fewer rows than one batch; or the last epoch is not of the size
            that is served; or an unfinished run is in `folder` and `resume` is off; or the run
            there is of another recipe or seed, or of another network under the same name.
    """
    if recipe.epochs < 1 or recipe.side(recipe.epochs) != recipe.input.height:
        raise TrainingError(
            f"Recipe {recipe.name} has {recipe.epochs} epochs, and the last must learn from images "
            f"of {recipe.input.height} pixels, as they are served. Change its epochs or sides."
        )
    steps = len(Batches(material, recipe, classes, seed, 1))
    if steps == 0:
        raise TrainingError(
            f"The {len(material)} images are fewer than one batch of {recipe.batch_size}, or the "
            "recipe takes too few of them; give more."
        )
    identity = {"recipe": _describe(recipe), "seed": seed, "rows": len(material)}
    state = _last_state(folder)
    if state is not None and resume:
        if state["identity"] != identity:
            raise TrainingError(
                f"The run in {folder} is of another recipe, seed or data. Start without --resume "
                "once you have moved it away."
            )
    else:
        refuse_unfinished(folder)
        state = None

    keras.utils.set_random_seed(seed)
    history: list[Epoch] = []
    sessions: list[Session] = []
    best: Epoch | None = None
    with _dtype_policy("mixed_bfloat16" if recipe.mixed_precision else "float32"):
        model = recipe.build(recipe.shape, classes)
    if state is None:
        if recipe.prepare is not None:
            recipe.prepare(model, material.rows, recipe.input, settings)
        model.compile(
            optimizer=recipe.optimizer.build(steps * recipe.epochs),
            loss=PartialCrossentropy(recipe.label_smoothing),
            metrics=[LabelledAccuracy(name="accuracy")],
        )
        if _last_state(folder) is not None:
            # Kept until the next one: its export may have failed, and hours of training be in it.
            previous = folder.with_name(f"{folder.name}.previous")
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        history = [Epoch(**epoch) for epoch in state["history"]]
        sessions = [Session(**session) for session in state["sessions"]]
        best = _best(recipe, history)
        built = [weight.shape for weight in model.weights]
        model = keras.saving.load_model(_checkpoint(folder, len(history)))
        if [weight.shape for weight in model.weights] != built:
            raise TrainingError(
                f"The network of {recipe.name} has changed since the run in {folder}: its weights "
                "have other shapes. Start without --resume once you have moved it away."
            )

    if not _finished(recipe, history, best):
        sessions.append(Session(hardware(), today(), commit()))
    while not _finished(recipe, history, best):
        number = len(history) + 1
        started = time.perf_counter()
        batches = Batches(material, recipe, classes, seed, number)
        _seed_dropout(model, seed, number)
        fitted = model.fit(
            batches,
            epochs=1,
            # Keras would shuffle the batches by a state that no checkpoint holds.
            shuffle=False,
            verbose=0,
            callbacks=[_OnBatch(reporter, number, len(batches))],
        )
        # Of the size that it just learned from: at another one a network is not at home.
        held_out = FixedBatches(validation, recipe.seen(number), classes)
        loss, accuracy = model.evaluate(held_out, verbose=0)
        epoch = Epoch(
            epoch=number,
            loss=float(fitted.history["loss"][0]),
            accuracy=float(fitted.history["accuracy"][0]),
            validation_loss=float(loss),
            validation_accuracy=float(accuracy),
            seconds=time.perf_counter() - started,
        )
        history.append(epoch)
        best = _best(recipe, history)
        state = {
            "identity": identity,
            "sessions": [asdict(session) for session in sessions],
            "history": [asdict(epoch) for epoch in history],
            "best_epoch": best.epoch if best else None,
            "finished": _finished(recipe, history, best),
        }
        _save(folder, model, state)
        reporter.on_epoch(epoch, recipe.epochs, best is epoch)
    number = max(_served(recipe, history), key=_by_validation).epoch
    model = keras.saving.load_model(_checkpoint(folder, number))
    return Run(model, tuple(history), number, tuple(sessions))


def refuse_unfinished(folder: Path) -> None:
    """Do nothing, unless there is a run that is worth going on with.

    Raises:
        TrainingError: An unfinished run is in this folder.
    """
    state = _last_state(folder)
    if state is not None and not state["finished"]:
        raise TrainingError(
            f"An unfinished run of {len(state['history'])} epochs is in {folder}. Go on with "
            "--resume, or delete that folder to begin anew."
        )


class _OnBatch(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed
    def __init__(self, reporter: Reporter, epoch: int, total: int) -> None:
        super().__init__()
        self._reporter = reporter
        self._epoch = epoch
        self._total = total

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        del logs
        self._reporter.on_batch(self._epoch, batch + 1, self._total)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Start dropout anew from (seed, epoch): a loaded model has another state than a saved one."""
    # NumPy takes (a, b) and (a, b, 0) for the same, and batches use the numbers above.
    rng = np.random.default_rng((seed, epoch, 2**31))
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([int(rng.integers(0, 2**31)), 0])


def _served(recipe: Recipe, history: list[Epoch]) -> list[Epoch]:
    """Epochs whose weights may be served: those of images of the size that is served."""
    return [e for e in history if recipe.side(e.epoch) == recipe.input.height]


def _by_validation(epoch: Epoch) -> float:
    return epoch.validation_accuracy


def _best(recipe: Recipe, history: list[Epoch]) -> Epoch | None:
    return max(_served(recipe, history), key=_by_validation, default=None)


def _finished(recipe: Recipe, history: list[Epoch], best: Epoch | None) -> bool:
    if len(history) >= recipe.epochs:
        return True
    return best is not None and len(history) - best.epoch >= recipe.patience


def _describe(recipe: Recipe) -> dict[str, Any]:
    """What decides the outcome of a run, as it stands in JSON; the network by its name."""
    described = {
        field.name: getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name not in _COSMETIC
    }
    described |= {
        "build": recipe.build.__name__,
        "prepare": recipe.prepare.__name__ if recipe.prepare else None,
        "optimizer": {"kind": type(recipe.optimizer).__name__, **asdict(recipe.optimizer)},
        "input": recipe.input.model_dump(mode="json"),
    }
    # As it will be read again: JSON knows no tuples.
    as_read: dict[str, Any] = json.loads(json.dumps(described))
    return as_read


def _checkpoint(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04}.keras"


def _last_state(folder: Path) -> dict[str, Any] | None:
    file = folder / "state.json"
    if not file.is_file():
        return None
    state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return state


def _save(folder: Path, model: keras.Model, state: dict[str, Any]) -> None:
    """Weights first, then the state that names them, then away with what it no longer names."""
    last = _checkpoint(folder, len(state["history"]))
    model.save(last)
    new = folder / "state.json.new"
    new.write_text(json.dumps(state, indent=1), "utf-8")
    new.replace(folder / "state.json")
    kept = {last}
    if state["best_epoch"] is not None:
        kept.add(_checkpoint(folder, state["best_epoch"]))
    for file in set(folder.glob("epoch-*.keras")) - kept:
        file.unlink()
