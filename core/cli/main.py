"""The command `tensight`: results go to stdout, everything else to stderr.

Exit status: 0 done, 1 something failed, 2 wrong usage.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from core._version import __version__
from core.cli import feedback, mcp, models, predict, serve, training
from core.cli.console import read_settings, say
from core.cli.extensions import add_commands
from core.errors import ModelNotFoundError, SettingsError, TenSightError
from core.photos.decode import configure_pillow_limits
from core.settings import Settings

__all__ = ["build_app", "main"]

_CANNOT_WRITE = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)
_NO_FRONTS = (
    "No such command {name!r}. The commands of the page and of the bot are not installed here: "
    "`pip install` the wheel, or `make run` in a checkout."
)


def main() -> None:
    """Run the command line."""
    configure_pillow_limits()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            build_app()()
        finally:
            # Else what is still held is lost without a word when Python ends.
            if sys.stdout is not None:  # it was closed
                sys.stdout.flush()
    except (ModelNotFoundError, SettingsError) as error:
        _end(str(error), 2)
    except TenSightError as error:
        _end(str(error), 1)
    except OSError as error:
        # Of a file that was opened, the error names it.
        if error.errno not in _CANNOT_WRITE or error.filename is not None:
            raise
        _end(f"The output cannot be written: {error.strerror}. See that there is room for it.", 1)


def _end(message: str, status: int) -> NoReturn:
    """End with one line on stderr, even where nothing can be written."""
    with suppress(OSError):
        say(message)
    # Python would try to write what is held once more, and fail once more.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            with suppress(AttributeError, OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def build_app() -> typer.Typer:
    """Build the command line: the commands of core, and those that fronts register."""
    app = typer.Typer(
        name="tensight",
        help="Tells what is in a photo, how sure it is, and when it does not know.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    # Not by add_typer: `tensight --help` lists commands in the order in which they are registered.
    app.registered_commands += predict.app.registered_commands
    fronts = add_commands(app)
    app.registered_commands += serve.app.registered_commands
    app.registered_commands += mcp.app.registered_commands
    app.command()(config)
    app.registered_commands += training.app.registered_commands
    app.add_typer(models.app, name="models")
    app.add_typer(feedback.app, name="feedback")
    app.callback(cls=TyperGroup if fronts else _WithoutFronts)(_root)
    return app


class _WithoutFronts(TyperGroup):
    """Says what to install where somebody asks for a command of a front."""

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
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/SETTINGS.md.")] = False,
) -> None:
    """Show the settings in force; secrets are masked."""
    if markdown:
        typer.echo(Settings.document())
        return
    for variable, value, description in read_settings().rows():
        typer.echo(f"{variable}={value}\n    {description}")
