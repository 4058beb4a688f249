"""The command `tensight serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from core.cli.console import RUN, read_settings, say

__all__ = ["app"]

app = typer.Typer()


@app.command(rich_help_panel=RUN)
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to.", show_default="TENSIGHT_HOST")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port to bind to.", show_default="TENSIGHT_SERVICE_PORT"
        ),
    ] = None,
) -> None:
    """Serve predictions over HTTP."""
    from core.serving.http import server

    settings = read_settings()
    server.serve(settings, host=host or settings.host, port=port or settings.service_port, say=say)
