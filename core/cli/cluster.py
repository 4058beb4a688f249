"""The command `tensight cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli.console import read_settings, say

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Prepare a cluster that serves with Ray.")


@app.callback()
def _group() -> None:
    """Prepare a cluster that serves with Ray."""


@app.command()
def config(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder to create; it may exist if it is empty."),
    ],
    replicas: Annotated[
        str,
        typer.Option(help="A number of replicas, or a range such as 2-8 that follows the load."),
    ] = "2-8",
    image: Annotated[
        str,
        typer.Option(
            help="Container image for Kubernetes, with TenSight and its extras `cluster` and "
            "`postgres`."
        ),
    ] = "tensight:cluster",
) -> None:
    """Write configuration files for Ray Serve, KubeRay and Caddy."""
    from core.output import new_folder
    from core.serving.cluster import check_serve_config, ray_version, require_ray
    from core.serving.cluster_files import config_files
    from core.serving.replicas import Replicas
    from core.settings import processors

    require_ray("`tensight cluster config`")
    files = config_files(
        Replicas.parse(replicas, processors()),
        read_settings(),
        image=image,
        ray_version=ray_version(),
        check=check_serve_config,
    )
    with new_folder(folder) as new:
        for name, text in files.items():
            (new / name).write_text(text, "utf-8")
    say(f"Wrote {', '.join(files)} into {folder}. docs/SCALING.md says how to use them.")
