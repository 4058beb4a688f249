"""Commands and companions that packages above core register by entry points.

core imports no front. A package registers a command of `tensight`, a function or a Typer app, in
the group `tensight.commands` under the command's name. In the group `tensight.companions` it
registers what runs beside the page (see `Companion`).
"""

from __future__ import annotations

import functools
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
from typing import TYPE_CHECKING, TypeAlias

import typer

from core.cli.console import RUN, say
from core.errors import CommandUnavailableError, TenSightError

if TYPE_CHECKING:
    from core.serving.predictor import Predictor
    from core.settings import Settings

__all__ = ["Companion", "add_commands", "companions"]

_COMMANDS = "tensight.commands"
_COMPANIONS = "tensight.companions"
_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

_Output: TypeAlias = Callable[[str], None]
Companion: TypeAlias = (
    "Callable[[Settings, Predictor, int | None, _Output], AbstractContextManager[None]]"
)
"""Runs beside the page: (settings, predictor, port for Prometheus or None, output) -> a context
manager that starts and stops it. One that has nothing to do returns an empty context."""


def add_commands(app: typer.Typer) -> bool:
    """Add every registered command to an app.

    A command that cannot be loaded is added nevertheless, and reports why when it is called.

    Returns:
        Whether any command is registered.
    """
    registered = _registered(_COMMANDS)
    for entry in registered:
        try:
            command = entry.load()
        except Exception as error:  # noqa: BLE001  # a package may raise anything on import
            # It reports why it cannot run, whatever options it is called with.
            anything = {"ignore_unknown_options": True, "allow_extra_args": True}
            app.command(entry.name, context_settings=anything, rich_help_panel=RUN)(
                _unavailable(entry, error)
            )
            continue
        if isinstance(command, typer.Typer):
            for each in command.registered_commands:
                if each.callback is not None:
                    each.callback = _reporting(entry.name, each.callback)
            app.add_typer(command, name=entry.name, rich_help_panel=RUN)
        else:
            app.command(entry.name, rich_help_panel=RUN)(_reporting(entry.name, command))
    return bool(registered)


@contextmanager
def companions(
    settings: Settings, predictor: Predictor, metrics_port: int | None
) -> Iterator[None]:
    """Run all registered companions beside the page.

    One that cannot be loaded or started because a package is missing is reported and skipped.

    Args:
        settings: The settings.
        predictor: Predictor that the page and its companions share.
        metrics_port: Port for Prometheus metrics of a companion; None to serve none.
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
    """Return a group's entry points; those of pyproject.toml in a checkout not installed."""
    try:
        distribution("tensight")
    except PackageNotFoundError:
        try:
            text = _PYPROJECT.read_text("utf-8")
        except OSError:  # it does not exist, or this user may not read it
            return []
        import tomllib

        project = tomllib.loads(text).get("project", {})
        registered = project.get("entry-points", {}).get(group, {})
        return [EntryPoint(name, value, group) for name, value in registered.items()]
    return entry_points(group=group)


def _is_missing(error: Exception) -> bool:
    """Return whether a package that is not part of TenSight cannot be imported."""
    return isinstance(error, ImportError) and not isinstance(error, TenSightError)


def _reason(what: str, error: Exception) -> str:
    return (
        f"{what} cannot be loaded ({type(error).__name__}: {error}). Install TenSight with its "
        "dependencies: `make run` in a checkout, otherwise `pip install` its wheel."
    )


def _reporting(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that a missing package is reported in one sentence."""

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
        """Report why this command is not available."""
        raise CommandUnavailableError(f"tensight {entry.name}: {_reason(entry.module, error)}")

    return command
