"""The command `tensight serve`."""

from __future__ import annotations

from typing import Annotated, Literal

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
    engine: Annotated[
        Literal["process", "ray"],
        typer.Option(
            help="`process` answers in this process. `ray` runs replicas with Ray Serve, on this "
            "machine or in the cluster of RAY_ADDRESS; it needs the extra `cluster`."
        ),
    ] = "process",
    replicas: Annotated[
        str | None,
        typer.Option(
            help="Replicas for `--engine ray`: a number, a range such as 2-8 that follows the "
            "load, or `auto`: from 1 to the number of processors.",
            show_default="auto",
        ),
    ] = None,
) -> None:
    """Serve predictions over HTTP."""
    if replicas is not None and engine != "ray":
        raise typer.BadParameter("--replicas needs --engine ray.", param_hint="--replicas")
    settings = read_settings()
    host, port = host or settings.host, port or settings.service_port
    if engine == "ray":
        from core.serving.cluster import serve_cluster

        wanted = replicas or "auto"
        serve_cluster(settings, host=host, port=port, replicas=wanted, say=say)
        return
    from core.serving.http import server

    server.serve(settings, host=host, port=port, say=say)
