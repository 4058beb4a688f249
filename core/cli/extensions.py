"""Commands and companions that packages above core register by entry points.

core imports no front. A package adds a command to `tensight` in the group `tensight.commands` (a
function or a Typer app, under the command's name), and what may run beside the page in the group
`tensight.companions` (see `Companion`).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from core.errors import CommandUnavailableError, TenSightError
from core.serving.predictor import Predictor
from core.settings import Settings

__all__ = ["Companion", "add_commands", "companions"]

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
            for each in command.registered_commands:
                if each.callback is not None:
                    each.callback = _reporting(entry.name, each.callback)
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(_reporting(entry.name, command))
    return bool(registered)


@contextmanager
def companions(
    settings: Settings, predictor: Predictor, metrics_port: int | None
) -> Iterator[None]:
    """Run everything that is registered to run beside the page.

    What cannot be loaded or started, because a package is missing, is reported and left out.
    """
    with ExitStack() as stack:
        for entry in _registered(_COMPANIONS):
            try:
                companion: Companion = entry.load()
                stack.enter_context(companion(settings, predictor, metrics_port, say))
            except Exception as error:
                if not _is_missing(error):
                    raise
                say(f"{entry.name} does not run beside the page: {_reason(entry.module, error)}")
        yield


def _registered(group: str) -> EntryPoints | list[EntryPoint]:
    """Entry points of a group; of a checkout that was never installed, those of pyproject.toml."""
    try:
        distribution("tensight")
    except PackageNotFoundError:
        if not _PYPROJECT.is_file():
            return []
        project = tomllib.loads(_PYPROJECT.read_text("utf-8")).get("project", {})
        registered = project.get("entry-points", {}).get(group, {})
        return [EntryPoint(name, value, group) for name, value in registered.items()]
    return entry_points(group=group)


def _is_missing(error: Exception) -> bool:
    """Return whether a package that is not part of TenSight cannot be imported."""
    return isinstance(error, ImportError) and not isinstance(error, TenSightError)


def _reason(what: str, error: Exception) -> str:
    return (
        f"{what} cannot be loaded ({type(error).__name__}: {error}). Install TenSight with all "
        "that it depends on: `make run` in a checkout, else `pip install` with its wheel."
    )


def _reporting(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command, so that a package that it lacks is reported in one sentence."""

    @functools.wraps(command)
    def run(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
        except ImportError as error:
            if not _is_missing(error):
                raise
            raise CommandUnavailableError(
                f"tensight {name}: {_reason('a package', error)}"
            ) from error

    return run


def _unavailable(entry: EntryPoint, error: Exception) -> Callable[[], None]:
    """Build a command that reports why it cannot run."""

    def command() -> None:
        """Say why this command is not available here."""
        raise CommandUnavailableError(f"tensight {entry.name}: {_reason(entry.module, error)}")

    return command
