"""The command `tensight`: results go to stdout, everything else to stderr.

Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from core._version import __version__
from core.cli import (
    cluster,
    evaluate,
    feedback,
    mcp,
    models,
    predict,
    rollout,
    serve,
    teach,
    training,
)
from core.cli.console import MODELS, RUN, read_settings, say
from core.cli.extensions import add_commands
from core.cli.panels import PanelGroup
from core.errors import ModelNotFoundError, SettingsError, TenSightError

__all__ = ["build_app", "main"]

# Collections of the default threshold, 700 objects, take a tenth of the time of the imports.
_GC_THRESHOLD = 10_000
_CANNOT_WRITE = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)
_NO_FRONTS = (
    "No such command {name!r}. The commands of the page and of the bot are not installed: "
    "`pip install` the wheel, or run `make run` in a checkout."
)


def main() -> None:
    """Run the command line."""
    gc.set_threshold(_GC_THRESHOLD)
    # Otherwise the interpreter would collect all objects before it exits.
    atexit.register(gc.freeze)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            build_app(next(iter(sys.argv[1:]), None))()
        finally:
            # A failed flush at interpreter exit would not be reported.
            if sys.stdout is not None:  # None where it was closed
                sys.stdout.flush()
    except (ModelNotFoundError, SettingsError) as error:
        _end(str(error), 2)
    except TenSightError as error:
        _end(str(error), 1)
    except OSError as error:
        # An error with a file name is about that file, not about the output.
        if error.errno not in _CANNOT_WRITE or error.filename is not None:
            raise
        _end(f"The output cannot be written: {error.strerror}. Check the free disk space.", 1)


def _end(message: str, status: int) -> NoReturn:
    """Exit with one line on stderr, even where nothing can be written."""
    with suppress(OSError):
        say(message)
    # Python would flush the streams again at exit, and fail again.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            with suppress(AttributeError, OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def build_app(argument: str | None = None) -> typer.Typer:
    """Build the command line from the commands of core and those that fronts register.

    Args:
        argument: First argument of the command line. Where it is a command that answers photos, all
            others are left out, since building them would delay the answer.
    """
    app = typer.Typer(
        name="tensight",
        help="Classify photos with calibrated confidence, and detect photos of none of the labels.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # Without add_typer, `tensight --help` lists all commands in the order of registration.
    app.registered_commands += predict.app.registered_commands
    answers = {each.callback.__name__ for each in predict.app.registered_commands if each.callback}
    if argument in answers:
        app.callback()(_root)
        return app
    fronts = add_commands(app)
    app.registered_commands += serve.app.registered_commands
    app.add_typer(cluster.app, name="cluster", rich_help_panel=RUN)
    app.registered_commands += mcp.app.registered_commands
    app.command(rich_help_panel=RUN)(config)
    app.registered_commands += teach.app.registered_commands
    app.registered_commands += training.app.registered_commands
    app.registered_commands += evaluate.app.registered_commands
    app.registered_commands += rollout.app.registered_commands
    app.add_typer(models.app, name="models", rich_help_panel=MODELS)
    app.add_typer(feedback.app, name="feedback", rich_help_panel=MODELS)
    app.callback(cls=PanelGroup if fronts else _WithoutFronts)(_root)
    return app


class _WithoutFronts(PanelGroup):
    """A group that names what to install when a command of a front is missing."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            ctx.fail(_NO_FRONTS.format(name=args[0]))
        return super().resolve_command(ctx, args)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tensight {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


def config(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/SETTINGS.md instead.")
    ] = False,
) -> None:
    """Show the current settings, with secrets masked."""
    if markdown:
        from core.settings import Settings

        typer.echo(Settings.document())
        return
    for group, rows in read_settings().groups():
        typer.echo(f"# {group}")
        for variable, value, description in rows:
            typer.echo(f"{variable}={value}\n    {description}")
