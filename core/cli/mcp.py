"""The command `tensight mcp`."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from typing import Any

import typer

from core.cli.console import RUN, read_settings
from core.errors import MissingExtraError
from core.rate_limit import RateLimit

__all__ = ["app", "require_mcp"]

app = typer.Typer()


def require_mcp(purpose: str) -> None:
    """Check that the extra `mcp` is installed.

    Args:
        purpose: What needs it, as the beginning of a sentence.

    Raises:
        MissingExtraError: It is not.
    """
    if importlib.util.find_spec("mcp") is None:
        raise MissingExtraError("mcp", purpose)


@app.command(rich_help_panel=RUN)
def mcp() -> None:
    """Serve the MCP tools to a program on this machine, over standard input and output."""
    require_mcp("This command")
    settings = read_settings()
    import asyncio

    from core.serving.connect import connect
    from core.serving.local import LocalPredictor
    from core.serving.mcp import build_server, serve_stdio

    limit = RateLimit(settings.photos_per_minute)

    def admit(_: Any, photos: int) -> None:
        limit.hit("stdio", photos)

    with closing(connect(settings)) as predictor:
        if isinstance(predictor, LocalPredictor):
            predictor.warm()
        asyncio.run(serve_stdio(build_server(predictor, admit, reads_paths=True)))
