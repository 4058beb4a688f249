"""Commands and companions that packages above core register by entry points.

core imports no front. A package adds a command to `tensight` in the group `tensight.commands` (a
function or a Typer app, under the command's name), and what may run beside the page in the group
`tensight.companions` (see `Companion`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import (
    EntryPoint,
    EntryPoints,
    PackageNotFoundError,
    distribution,
    entry_points,
)
from pathlib import Path

import typer

from core.cli.console import say
from core.errors import CommandUnavailableError
from core.serving.predictor import Predictor
from core.settings import Settings

__all__ = ["Companion", "add_commands", "load_companions"]

_COMMANDS = "tensight.commands"
_COMPANIONS = "tensight.companions"
_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

Companion = Callable[
    [Settings, Predictor, int | None, Callable[[str], None]], AbstractContextManager[None]
]
"""Runs beside the page: (settings, predictor, port for Prometheus or None, output) -> a context
manager that starts it and stops it. One that has nothing to do gives an empty context."""


def add_commands(app: typer.Typer) -> bool:
    """Add every registered command to an app.

    A command that cannot be loaded is added all the same, and says why when it is called.

    Returns:
        Whether any command is registered.
    """
    registered = _registered(_COMMANDS)
    for entry in registered:
        try:
            command = entry.load()
        except Exception as error:  # noqa: BLE001  # whatever a package raises when it is imported
            # Whatever options it is called with, it says why it cannot run.
            anything = {"ignore_unknown_options": True, "allow_extra_args": True}
            app.command(entry.name, context_settings=anything)(_unavailable(entry, error))
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)
    return bool(registered)


def load_companions() -> list[Companion]:
    """Load what may run beside the page; what cannot be loaded is reported and left out."""
    companions: list[Companion] = []
    for entry in _registered(_COMPANIONS):
        try:
            companions.append(entry.load())
        except Exception as error:  # noqa: BLE001  # whatever a package raises when it is imported
            say(f"{entry.name} does not run beside the page: {_reason(entry, error)}")
    return companions


def _registered(group: str) -> EntryPoints | list[EntryPoint]:
    """Entry points of a group; of a checkout that was never installed, those of pyproject.toml."""
    try:
        distribution("tensight")
    except PackageNotFoundError:
        if not _PYPROJECT.is_file():
            return []
        groups = tomllib.loads(_PYPROJECT.read_text("utf-8"))["project"]["entry-points"]
        return [EntryPoint(name, value, group) for name, value in groups[group].items()]
    return entry_points(group=group)


def _reason(entry: EntryPoint, error: Exception) -> str:
    return (
        f"{entry.module} cannot be loaded ({type(error).__name__}: {error}). Install TenSight with "
        "all that it depends on: `make run` in a checkout, else `pip install` with its wheel."
    )


def _unavailable(entry: EntryPoint, error: Exception) -> Callable[[], None]:
    """Build a command that reports why it cannot run."""

    def command() -> None:
        raise CommandUnavailableError(f"tensight {entry.name}: {_reason(entry, error)}")

    command.__doc__ = "Not available here; call it to see why."
    return command
