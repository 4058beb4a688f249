"""The commands `tensight web` and `tensight space ...`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.console import has_desktop, prepare_training, read_settings, say
from core.cli.extensions import companions
from core.cli.mcp import require_mcp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.serving.predictor import Predictor
    from core.settings import Settings
    from demo.context import ClientRateLimiter
    from demo.hosts import TrustedHosts
    from demo.server import Endpoint

__all__ = ["space", "web"]

_SAMPLES = 12
space = typer.Typer(help="Build or publish the page as a Space on the Hub.", no_args_is_help=True)


def web(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to.", show_default="TENSIGHT_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to bind to.", show_default="TENSIGHT_PORT"),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Also open the page in the browser of this desktop.")
    ] = False,
    share: Annotated[
        bool,
        typer.Option(
            "--share", help="Also make the page public, through a tunnel of Gradio's servers."
        ),
    ] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Also answer programs over MCP, at /mcp.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on 127.0.0.1 for Prometheus metrics of the bot."),
    ] = None,
) -> None:
    """Serve the web page, and run the bot if TENSIGHT_TELEGRAM_TOKEN is set."""
    from core.environment import drop_invalid_variables
    from core.network import on_loopback

    if mcp:
        require_mcp("--mcp")
    settings = read_settings()
    for dropped in drop_invalid_variables():
        say(dropped)
    with on_loopback():  # Gradio creates an HTTP client when it is imported
        from demo.app import serve

    if share:
        say(
            "For up to a week, anyone who has the URL can send photos to this machine. Photos and "
            "answers pass through Gradio's servers. Press Ctrl-C to stop."
        )
    serve(
        settings,
        host=host or settings.host,
        port=port or settings.port,
        open_browser=open_browser and has_desktop(),
        report=say,
        share=share,
        samples=None if settings.data is None else partial(_samples, settings),
        companions=lambda predictor: companions(settings, predictor, metrics_port),
        mcp=_mcp_endpoint if mcp else None,
    )


@space.command("build")
def build_space(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
) -> None:
    """Write a folder with everything that a Gradio Space needs."""
    from demo.space import build

    build(read_settings(), folder)
    say(f"Written to {folder}; `python {folder / 'app.py'}` starts it.")


@space.command("push")
def push_space(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Name of the Space.")],
    message: Annotated[str, typer.Option("--message", help="Commit message.")] = "Publish the page",
    private: Annotated[
        bool, typer.Option("--private", help="Create the Space as private.")
    ] = False,
) -> None:
    """Publish the page as a Space, which is created if it does not exist."""
    from demo.space import push

    commit = push(read_settings(), repo, message=message, private=private, bars=sys.stderr.isatty())
    typer.echo(f"spaces/{repo} is at {commit}")


def _mcp_endpoint(
    predictor: Predictor, photo_limiter: ClientRateLimiter, hosts: TrustedHosts
) -> Endpoint:
    """Create the MCP endpoint; its module needs the extra `mcp`."""
    from demo.mcp import McpEndpoint

    return McpEndpoint(predictor, photo_limiter, hosts)


def _samples(settings: Settings) -> dict[str, list[NDArray[np.uint8]]]:
    """Return the first test images of each class."""
    prepare_training()
    from core.training.data.cifar10 import CIFAR10_LABELS, load_cifar10_test

    test = load_cifar10_test(settings)
    return {
        label: list(test.images[test.labels == i][:_SAMPLES])
        for i, label in enumerate(CIFAR10_LABELS)
    }
