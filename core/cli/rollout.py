"""The commands that release revisions on evidence."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from core.cli.console import TRAIN, command_line, say
from core.errors import MissingExtraError, OutputError

__all__ = ["app"]

app = typer.Typer()


@app.command("simulate-rollouts", rich_help_panel=TRAIN)
def simulate_rollouts(
    runs: Annotated[
        int, typer.Option(min=10, help="Number of simulated canaries for each false-alarm rate.")
    ] = 10_000,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write, such as docs/ROLLOUT.md."),
    ] = None,
) -> None:
    """Simulate the tests of canaries and drift: false alarms, and photos until a rollback."""
    _require_scipy()
    from core.output import replacing
    from core.rollout.page import rollout_page

    if out is not None and not out.parent.is_dir():
        raise OutputError(f"The folder {out.parent} does not exist. Create it, or choose another.")
    page = rollout_page(runs, command=command_line(), progress=say)
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        with replacing(out) as new:
            new.write_text(page, "utf-8")
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Choose another file with --out."
        ) from error


def _require_scipy() -> None:
    """Raise MissingExtraError where the tests' library is not installed."""
    if importlib.util.find_spec("scipy") is None:
        raise MissingExtraError("charts", "This command")
