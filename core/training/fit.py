"""The training loop, with a checkpoint after each epoch from which a stopped run can resume."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from core.errors import TrainingError
from core.output import replacing
from core.training.evaluation.provenance import commit, hardware, today
from core.training.run_identity import is_same_run

__all__ = [
    "Epoch",
    "FitResult",
    "Reporter",
    "Session",
    "TrainingTask",
    "check_no_unfinished_run",
    "fit",
    "is_unfinished",
]


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch.

    Losses are the training objective, label smoothing included, in nats; accuracies are 0 to 1.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Session:
    """Hardware, date and code commit of the epochs between a start or resumption and a stop."""

    hardware: str
    date: str
    commit: str


@dataclass(frozen=True)
class FitResult:
    """A finished run.

    Attributes:
        model: Model of the best epoch.
        history: All epochs, oldest first.
        best_epoch: Number of the epoch with the highest validation accuracy among those that are
            eligible, counted from 1.
        sessions: Sessions, oldest first; one more for each resumption.
    """

    model: keras.Model
    history: tuple[Epoch, ...]
    best_epoch: int
    sessions: tuple[Session, ...]


class Reporter(Protocol):
    """Receives the progress of a run."""

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        """Handle the end of a batch: `done` of the `total` batches of the epoch."""

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        """Handle the end of an epoch of at most `total`; `best` if it is the best so far."""


class TrainingTask(Protocol):
    """A network, its data and its optimiser; `fit` runs the epochs."""

    @property
    def name(self) -> str:
        """Return the name for messages."""

    @property
    def epochs(self) -> int:
        """Return the maximum number of epochs."""

    @property
    def patience(self) -> int:
        """Return the number of epochs without improvement after which the run ends."""

    @property
    def seed(self) -> int:
        """Return the seed of weights, dropout, order and augmentation."""

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the outcome beside the seed, as JSON types.

        Raises:
            DataError: The pretrained weights are missing.
        """

    def network(self) -> keras.Model:
        """Build the network, with any weights."""

    def start(self, model: keras.Model, steps: int) -> None:
        """Set the initial weights, and compile for `steps` steps with the metric `accuracy`."""

    def batches(self, epoch: int) -> keras.utils.PyDataset:
        """Return the training batches of an epoch, counted from 1."""

    def held_out(self, epoch: int) -> keras.utils.PyDataset:
        """Return the validation batches of an epoch."""

    def is_eligible(self, epoch: int) -> bool:
        """Check whether the weights of an epoch may be those of the run."""


@dataclass
class _Progress:
    """State of a run between epochs.

    Attributes:
        task: The task.
        identity: Identity of the run, seed included.
        history: Epochs so far.
        sessions: Sessions so far.
    """

    task: TrainingTask
    identity: dict[str, Any]
    history: list[Epoch]
    sessions: list[Session]

    @property
    def best(self) -> Epoch | None:
        """Return the eligible epoch with the highest validation accuracy, the first of equals."""
        eligible = [epoch for epoch in self.history if self.task.is_eligible(epoch.epoch)]
        return max(eligible, key=lambda epoch: epoch.validation_accuracy, default=None)

    @property
    def finished(self) -> bool:
        """Check whether all epochs are done or patience has run out."""
        if len(self.history) >= self.task.epochs:
            return True
        best = self.best
        return best is not None and len(self.history) - best.epoch >= self.task.patience

    def to_state(self) -> dict[str, Any]:
        """Return the content of state.json."""
        best = self.best
        return {
            "identity": self.identity,
            "sessions": [asdict(session) for session in self.sessions],
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": best.epoch if best else None,
            "finished": self.finished,
        }


def fit(task: TrainingTask, *, folder: Path, resume: bool, reporter: Reporter) -> FitResult:
    """Run the epochs of a task.

    A checkpoint is written to `folder` after every epoch. A run that was killed at any moment can
    be resumed from the last one; it then uses the same batches and learning rates as an
    uninterrupted run.

    Args:
        task: The task.
        folder: Folder of the run; created if needed.
        resume: Continue the run in `folder`, or start one if there is none. Otherwise a finished
            run is moved to `NAME.previous` beside it.
        reporter: Receives the progress.

    Raises:
        DataError: The pretrained weights are missing.
        TrainingError: There are fewer images than one batch; the last epoch is not eligible; an
            unfinished run is in `folder` and `resume` is off; or the run there has another
            identity, or another network under the same name.
    """
    steps = _count_steps(task)
    identity = task.identity | {"seed": task.seed}
    state = _read_state(folder)
    if state is None or not resume:
        check_no_unfinished_run(folder)
        state = None
    elif not is_same_run(state["identity"], identity):
        raise TrainingError(
            f"The run in {folder} has another recipe, seed or data. Move it away and start without "
            "--resume."
        )
    keras.utils.set_random_seed(task.seed)
    model = task.network()
    progress = _Progress(task, identity, [], [])
    if state is None:
        task.start(model, sum(steps))
        _create_folder(folder)
    else:
        progress.history = [Epoch(**epoch) for epoch in state["history"]]
        progress.sessions = [Session(**session) for session in state["sessions"]]
        model = _load_checkpoint(task, model, folder, len(progress.history))
    if not progress.finished:
        progress.sessions.append(Session(hardware(), today(), commit()))
    while not progress.finished:
        epoch = _run_epoch(task, model, len(progress.history) + 1, reporter)
        progress.history.append(epoch)
        _save(folder, model, progress.to_state())
        reporter.on_epoch(epoch, task.epochs, progress.best is epoch)
    best = progress.best
    if best is None:
        raise TrainingError(f"The run of {task.name} has no eligible epoch.")
    model = keras.saving.load_model(_checkpoint(folder, best.epoch))
    return FitResult(model, tuple(progress.history), best.epoch, tuple(progress.sessions))


def check_no_unfinished_run(folder: Path) -> None:
    """Check that starting a run would not discard an unfinished one.

    Raises:
        TrainingError: An unfinished run is in this folder.
    """
    state = _read_state(folder)
    if state is not None and not state["finished"]:
        raise TrainingError(
            f"{folder} contains an unfinished run of {len(state['history'])} epochs. Continue it "
            "with --resume, or delete the folder to start again."
        )


def is_unfinished(folder: Path) -> bool:
    """Check whether a folder contains a run that stopped before its end."""
    state = _read_state(folder)
    return state is not None and not state["finished"]


def _count_steps(task: TrainingTask) -> Sequence[int]:
    """Return the number of steps of each epoch, and reject a task that cannot be run.

    Raises:
        TrainingError: There are no epochs, the last is not eligible, or one has no full batch.
    """
    if task.epochs < 1 or not task.is_eligible(task.epochs):
        raise TrainingError(
            f"{task.name} has {task.epochs} epochs, and its weights cannot be taken from the last "
            "one: there must be at least one epoch, and the last must use the image size that is "
            "served. Change the epochs or the side schedule."
        )
    steps = [len(task.batches(epoch)) for epoch in range(1, task.epochs + 1)]
    if min(steps) == 0:
        raise TrainingError(
            f"An epoch of {task.name} has less than one batch of images; add training images or "
            "reduce the batch size."
        )
    return steps


def _create_folder(folder: Path) -> None:
    """Create the folder of a run, keeping an earlier finished run beside it."""
    if _read_state(folder) is not None:
        # Its export may have failed, and hours of training would be lost.
        previous = folder.with_name(f"{folder.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    folder.mkdir(parents=True, exist_ok=True)


def _load_checkpoint(
    task: TrainingTask, expected: keras.Model, folder: Path, epoch: int
) -> keras.Model:
    """Load the model of an epoch, and compare it with the network as the code builds it now."""
    model = keras.saving.load_model(_checkpoint(folder, epoch))
    if [weight.shape for weight in model.weights] != [weight.shape for weight in expected.weights]:
        raise TrainingError(
            f"The network of {task.name} has changed since the run in {folder}: its weights have "
            "other shapes. Move the run away and start without --resume."
        )
    return model


def _run_epoch(task: TrainingTask, model: keras.Model, number: int, reporter: Reporter) -> Epoch:
    """Train and validate one epoch."""
    started = time.perf_counter()
    batches = task.batches(number)
    _seed_dropout(model, task.seed, number)
    fitted = model.fit(
        batches,
        epochs=1,
        # Keras would shuffle the batches from a state that no checkpoint holds.
        shuffle=False,
        verbose=0,
        callbacks=[_BatchReporter(reporter, number, len(batches))],
    )
    loss, accuracy = model.evaluate(task.held_out(number), verbose=0)
    return Epoch(
        epoch=number,
        loss=float(fitted.history["loss"][0]),
        accuracy=float(fitted.history["accuracy"][0]),
        validation_loss=float(loss),
        validation_accuracy=float(accuracy),
        seconds=time.perf_counter() - started,
    )


class _BatchReporter(keras.callbacks.Callback):  # type: ignore[misc]  # keras is not typed
    """Passes the end of each batch on to a reporter."""

    def __init__(self, reporter: Reporter, epoch: int, total: int) -> None:
        super().__init__()
        self._reporter = reporter
        self._epoch = epoch
        self._total = total

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        del logs
        self._reporter.on_batch(self._epoch, batch + 1, self._total)


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Seed dropout by (seed, epoch): a loaded model has another random state than the saved one."""
    # NumPy treats (a, b) and (a, b, 0) alike, and batches use (seed, epoch, 1 + index).
    rng = np.random.default_rng((seed, epoch, 2**31))
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign([int(rng.integers(0, 2**31)), 0])


def _checkpoint(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04}.keras"


def _read_state(folder: Path) -> dict[str, Any] | None:
    file = folder / "state.json"
    if not file.is_file():
        return None
    state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return state


def _save(folder: Path, model: keras.Model, state: dict[str, Any]) -> None:
    """Write the weights, then the state that names them, then delete checkpoints not needed."""
    last = _checkpoint(folder, len(state["history"]))
    model.save(last)
    with replacing(folder / "state.json") as new:
        new.write_text(json.dumps(state, indent=1), "utf-8")
    kept = {last}
    if state["best_epoch"] is not None:
        kept.add(_checkpoint(folder, state["best_epoch"]))
    for file in set(folder.glob("epoch-*.keras")) - kept:
        file.unlink()
