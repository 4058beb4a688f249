"""The training loop: a checkpoint after each epoch, from which a stopped run goes on."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from core.errors import TrainingError
from core.output import replacing
from core.training.evaluation.provenance import commit, hardware, today

__all__ = [
    "Epoch",
    "FitResult",
    "Reporter",
    "Session",
    "TrainingTask",
    "fit",
    "is_unfinished",
    "refuse_unfinished",
]


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
class FitResult:
    """A finished run.

    Attributes:
        sessions: Its stretches, oldest first: one more for each time it was resumed.
        model: The model of the epoch with the best validation accuracy, among those that the run
            may end with.
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


class TrainingTask(Protocol):
    """What a run does; `fit` only goes through its epochs."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def epochs(self) -> int:
        """Most epochs."""

    @property
    def patience(self) -> int:
        """Epochs without a better validation accuracy after which the run ends."""

    @property
    def seed(self) -> int:
        """Of weights, dropout, order and augmentation."""

    @property
    def identity(self) -> dict[str, Any]:
        """What else decides the outcome, of types that JSON has.

        Raises:
            DataError: Weights to begin with are missing.
        """

    def network(self) -> keras.Model:
        """The network, with any weights."""

    def start(self, model: keras.Model, steps: int) -> None:
        """Give it the weights it begins with; compile it for so many steps, with `accuracy`."""

    def batches(self, epoch: int) -> keras.utils.PyDataset:
        """What an epoch learns from, the first being 1."""

    def held_out(self, epoch: int) -> keras.utils.PyDataset:
        """What it is validated on."""

    def may_end_with(self, epoch: int) -> bool:
        """Whether the weights of an epoch may be the run's."""


def fit(task: TrainingTask, *, folder: Path, resume: bool, reporter: Reporter) -> FitResult:
    """Go through the epochs of a run.

    After every epoch a checkpoint stands in `folder`; a run killed at any moment goes on from the
    last one with `resume`, on the same batches at the same rates.

    Args:
        task: What to do.
        folder: Where the run is kept; made if needed.
        resume: Go on with the run in `folder`; without one there, begin. Off: a finished run there
            is moved to a folder beside it, `NAME.previous`.
        reporter: Hears of every batch and epoch.

    Raises:
        DataError: The task finds no weights to begin with.
        TrainingError: There are fewer rows than one batch; or the run may not end with its last
            epoch; or an unfinished run is in `folder` and `resume` is off; or the run there is of
            another task or seed, or of another network under the same name.
    """
    if task.epochs < 1 or not task.may_end_with(task.epochs):
        raise TrainingError(
            f"{task.name} has {task.epochs} epochs, and may not end with the last one: there must "
            "be one, and its images of the size that is served. Change epochs or sides."
        )
    steps = [len(task.batches(epoch)) for epoch in range(1, task.epochs + 1)]
    if min(steps) == 0:
        raise TrainingError(
            f"What {task.name} learns from in an epoch is less than one batch; give more images."
        )
    identity = task.identity | {"seed": task.seed}
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

    keras.utils.set_random_seed(task.seed)
    history: list[Epoch] = []
    sessions: list[Session] = []
    best: Epoch | None = None
    model = task.network()
    if state is None:
        task.start(model, sum(steps))
        if _last_state(folder) is not None:
            # Kept until the next one: its export may have failed, and hours of training be in it.
            previous = folder.with_name(f"{folder.name}.previous")
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        folder.mkdir(parents=True, exist_ok=True)
    else:
        history = [Epoch(**epoch) for epoch in state["history"]]
        sessions = [Session(**session) for session in state["sessions"]]
        best = _best(task, history)
        built = [weight.shape for weight in model.weights]
        model = keras.saving.load_model(_checkpoint(folder, len(history)))
        if [weight.shape for weight in model.weights] != built:
            raise TrainingError(
                f"The network of {task.name} has changed since the run in {folder}: its weights "
                "have other shapes. Start without --resume once you have moved it away."
            )

    if not _finished(task, history, best):
        sessions.append(Session(hardware(), today(), commit()))
    while not _finished(task, history, best):
        number = len(history) + 1
        started = time.perf_counter()
        batches = task.batches(number)
        _seed_dropout(model, task.seed, number)
        fitted = model.fit(
            batches,
            epochs=1,
            # Keras would shuffle the batches by a state that no checkpoint holds.
            shuffle=False,
            verbose=0,
            callbacks=[_OnBatch(reporter, number, len(batches))],
        )
        loss, accuracy = model.evaluate(task.held_out(number), verbose=0)
        epoch = Epoch(
            epoch=number,
            loss=float(fitted.history["loss"][0]),
            accuracy=float(fitted.history["accuracy"][0]),
            validation_loss=float(loss),
            validation_accuracy=float(accuracy),
            seconds=time.perf_counter() - started,
        )
        history.append(epoch)
        best = _best(task, history)
        state = {
            "identity": identity,
            "sessions": [asdict(session) for session in sessions],
            "history": [asdict(epoch) for epoch in history],
            "best_epoch": best.epoch if best else None,
            "finished": _finished(task, history, best),
        }
        _save(folder, model, state)
        reporter.on_epoch(epoch, task.epochs, best is epoch)
    number = max(_final(task, history), key=_by_validation).epoch
    model = keras.saving.load_model(_checkpoint(folder, number))
    return FitResult(model, tuple(history), number, tuple(sessions))


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


def is_unfinished(folder: Path) -> bool:
    """Whether there is a run in this folder that stopped before its end."""
    state = _last_state(folder)
    return state is not None and not state["finished"]


class _OnBatch(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed
    def __init__(self, reporter: Reporter, epoch: int, total: int) -> None:
        super().__init__()
        self._reporter = reporter
        self._epoch = epoch
        self._total = total

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        del logs
        self._reporter.on_batch(self._epoch, batch + 1, self._total)


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Start dropout anew from (seed, epoch): a loaded model has another state than a saved one."""
    # NumPy takes (a, b) and (a, b, 0) for the same, and batches use the numbers above.
    rng = np.random.default_rng((seed, epoch, 2**31))
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([int(rng.integers(0, 2**31)), 0])


def _final(task: TrainingTask, history: list[Epoch]) -> list[Epoch]:
    return [epoch for epoch in history if task.may_end_with(epoch.epoch)]


def _best(task: TrainingTask, history: list[Epoch]) -> Epoch | None:
    return max(_final(task, history), key=_by_validation, default=None)


def _by_validation(epoch: Epoch) -> float:
    return epoch.validation_accuracy


def _finished(task: TrainingTask, history: list[Epoch], best: Epoch | None) -> bool:
    if len(history) >= task.epochs:
        return True
    return best is not None and len(history) - best.epoch >= task.patience


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
    with replacing(folder / "state.json") as new:
        new.write_text(json.dumps(state, indent=1), "utf-8")
    kept = {last}
    if state["best_epoch"] is not None:
        kept.add(_checkpoint(folder, state["best_epoch"]))
    for file in set(folder.glob("epoch-*.keras")) - kept:
        file.unlink()
