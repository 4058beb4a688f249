"""Options, printing and progress bars of the commands."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import MissingExtraError, SettingsError
from core.redaction import without_credentials

if TYPE_CHECKING:
    from core.settings import Settings
    from core.training.fit import Epoch

__all__ = [
    "ANSWER_PHOTOS",
    "MODELS",
    "OPERATOR",
    "RUN",
    "TRAIN",
    "EpochProgress",
    "JsonOption",
    "ModelOption",
    "command_line",
    "download_progress",
    "has_desktop",
    "prepare_training",
    "print_json",
    "print_table",
    "read_settings",
    "say",
]

ANSWER_PHOTOS, RUN, MODELS, TRAIN = "Answer photos", "Run", "Models", "Train"
"""Panels of `tensight --help`."""

OPERATOR = "command line"
"""Operator in the audit log."""

_TRAIN_MODULES = ("imagecorruptions", "keras", "matplotlib", "pyarrow", "scipy", "sklearn", "yaml")

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Name of the model.", show_default="TENSIGHT_MODEL, or the best"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_settings() -> Settings:
    """Read the settings, and set up logging and Pillow's limits for this process."""
    from core.logs import configure_logging
    from core.photos.decode import configure_pillow_limits
    from core.settings import Settings

    configure_pillow_limits()
    settings = Settings.read()
    configure_logging(settings)
    return settings


def prepare_training() -> None:
    """Choose Keras's backend before Keras is imported, and check that training is installed.

    Raises:
        MissingExtraError: The extra `train` is not installed.
        SettingsError: KERAS_BACKEND names a package that is not installed.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Plots are written to files. matplotlib raises an error on import for an invalid value.
    os.environ["MPLBACKEND"] = "agg"
    needed = (*_TRAIN_MODULES, *(["tensorflow"] if backend == "tensorflow" else []))
    if any(importlib.util.find_spec(module) is None for module in needed):
        raise MissingExtraError("train", "This command")
    if importlib.util.find_spec(backend) is None:
        raise SettingsError(
            f"KERAS_BACKEND is {backend}, but no such package is installed. Install it, or unset "
            "KERAS_BACKEND to use TensorFlow."
        )


def command_line() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join(["tensight", *sys.argv[1:]])


def has_desktop() -> bool:
    """Return whether a graphical browser can be opened, instead of one in the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def say(message: str) -> None:
    """Print a message to stderr, with secrets masked: it may repeat what the user typed."""
    typer.echo(without_credentials(message), err=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    # ASCII escapes keep file names that are not valid UTF-8 valid in JSON.
    typer.echo(json.dumps(value, allow_nan=False))


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # `Text` keeps brackets in a cell from being parsed as markup.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*map(Text, row))
    # Piped output is not truncated to the width of a terminal.
    width = None if sys.stdout.isatty() else 200
    Console(width=width).print(table)


@contextmanager
def download_progress() -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callback that updates a progress bar; None where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    columns = (*Progress.get_default_columns(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Downloading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class EpochProgress:
    """A progress bar for the batches of an epoch, and a line for each completed epoch.

    Args:
        title: Line to print first.
    """

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar.console.print(title, highlight=False, soft_wrap=True)
        self._task = self._bar.add_task("epoch", total=None)

    def __enter__(self) -> EpochProgress:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def on_batch(self, epoch: int, done: int, total: int) -> None:
        """Update the progress bar."""
        self._bar.update(self._task, description=f"epoch {epoch}", completed=done, total=total)

    def on_epoch(self, epoch: Epoch, total: int, best: bool) -> None:
        """Print the metrics of an epoch."""
        self._bar.console.print(
            f"epoch {epoch.epoch}/{total}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:.4f}  "
            f"validation loss {epoch.validation_loss:.4f}  accuracy "
            f"{epoch.validation_accuracy:.4f}{' *' if best else ''}  {epoch.seconds:.0f} s",
            soft_wrap=True,
        )
