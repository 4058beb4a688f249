"""The command `tensight serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli.console import read_settings, say

__all__ = ["app"]

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="TENSIGHT_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port to listen on.", show_default="TENSIGHT_SERVICE_PORT"
        ),
    ] = None,
) -> None:
    """Serve photos over HTTP, for programs and for fronts that run elsewhere."""
    settings = read_settings()
    from core.serving.http import server

    server.serve(settings, host=host or settings.host, port=port or settings.service_port, say=say)
