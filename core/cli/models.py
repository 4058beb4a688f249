"""The commands `tensight models ...`."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.console import (
    OPERATOR,
    JsonOption,
    download_progress,
    print_json,
    print_table,
    read_settings,
    say,
)
from core.cli.panels import PanelGroup
from core.errors import ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.bundle.leaderboard import ModelInfo
    from core.registry.catalog import Catalog
    from core.registry.releases import Releases
    from core.registry.revisions import StoredRevision

__all__ = ["app"]

app = typer.Typer(
    cls=PanelGroup, help="List, install, promote and publish models.", no_args_is_help=True
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]
RepoOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="OWNER/NAME",
        help="Repository on the Hub.",
        show_default="TENSIGHT_HUB_REPO",
    ),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit.", show_default="TENSIGHT_HUB_REVISION"),
]


@app.command("list")
def list_models(
    as_json: JsonOption = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="List the models of the repository on the Hub.")
    ] = False,
    repo: RepoOption = None,
    revision: RevisionOption = None,
) -> None:
    """List all models with their metrics on the test set."""
    if not remote and (repo is not None or revision is not None):
        raise typer.BadParameter(
            "--repo and --revision require --remote", param_hint="'models list'"
        )
    if remote:
        _list_remote(repo, revision, as_json)
        return
    from core.registry.catalog import Catalog
    from core.registry.releases import Releases

    settings = read_settings()
    catalog = Catalog(settings)
    available = catalog.models()
    listed = [*available, *catalog.unbundled()]
    with closing(Releases(settings)) as releases:
        others = _not_serving(releases, available)
    default = catalog.default() if available or not (as_json or others) else None
    if as_json:
        rows = [_json_row(each, _state(catalog, each), each.name == default) for each in listed]
        rows += [_other_json_row(catalog, each) for each in others]
        print_json(rows)
        return
    _print_models(catalog, listed, default)
    if others:
        typer.echo("Installed, not serving:")
        _print_others(catalog, others)


def _not_serving(releases: Releases, available: Sequence[ModelInfo]) -> list[StoredRevision]:
    """List the installed revisions that do not serve now."""
    serving = {(each.name, each.revision) for each in available}
    return [
        each
        for each in releases.installed()
        if (each.bundle.config.name, each.bundle.revision) not in serving
    ]


def _state(catalog: Catalog, model: ModelInfo) -> str:
    """Name the state of a model that is listed."""
    if model.revision is None:
        return "figures only"
    if model.name not in catalog.live():
        return "bundled"
    return "live" if catalog.is_live(model.name, model.revision) else "stands in"


def _other_state(catalog: Catalog, stored: StoredRevision) -> str:
    """Name the state of an installed revision that does not serve."""
    row = catalog.live().get(stored.bundle.config.name)
    is_last_good = row is not None and row.last_good == stored.bundle.revision
    return "last good" if is_last_good else "candidate"


def _json_row(model: ModelInfo, state: str, is_default: bool) -> dict[str, Any]:
    return model.to_dict() | {"default": is_default, "state": state}


def _other_json_row(catalog: Catalog, stored: StoredRevision) -> dict[str, Any]:
    from core.bundle.leaderboard import ModelInfo

    return _json_row(ModelInfo.of(stored.bundle), _other_state(catalog, stored), False)


def _print_models(catalog: Catalog, models: Sequence[ModelInfo], default: str | None) -> None:
    print_table(
        ["name", "state", "revision", "family", "accuracy", "report", "ECE", "parameters", "ms"],
        [
            [
                f"{each.name} (default)" if each.name == default else each.name,
                _state(catalog, each),
                each.revision or "",
                each.config.family,
                f"{each.metrics.test.accuracy:.4f}",
                f"{each.metrics.reported.accuracy:.4f}" if each.metrics.reported else "",
                f"{each.metrics.test.ece:.4f}",
                f"{each.metrics.parameters:,}",
                f"{each.metrics.milliseconds:.1f}",
            ]
            for each in models
        ],
    )


def _print_others(catalog: Catalog, others: Sequence[StoredRevision]) -> None:
    print_table(
        ["name", "state", "revision", "from", "commit", "since"],
        [
            [
                each.bundle.config.name,
                _other_state(catalog, each),
                each.bundle.revision,
                each.repo or "this computer",
                (each.commit or "")[:12],
                each.date,
            ]
            for each in others
        ],
    )


def _list_remote(repo: str | None, revision: str | None, as_json: bool) -> None:
    from core.registry.releases import Releases

    with closing(Releases(read_settings())) as releases:
        found = releases.list_remote(repo=repo, revision=revision)
    if as_json:
        print_json([each.info.to_dict() | {"here": each.installed} for each in found])
        return
    rows = [
        [
            each.info.name,
            each.info.config.family,
            each.info.revision or "",
            f"{each.info.metrics.test.accuracy:.4f}",
            f"{each.info.metrics.milliseconds:.1f}",
            "yes" if each.installed else "no",
        ]
        for each in found
    ]
    print_table(["name", "family", "revision", "accuracy", "ms", "installed"], rows)


@app.command()
def pull(
    repo: RepoOption = None,
    revision: RevisionOption = None,
    live: Annotated[
        bool, typer.Option("--promote", help="Also make all of them live, in one transaction.")
    ] = False,
) -> None:
    """Download and install the models of a repository on the Hub, without making them live.

    All files are verified, and each model is loaded in a subprocess, before any is installed.
    """
    from core.registry.releases import Releases

    releases = Releases(read_settings(), operator=OPERATOR)
    with closing(releases), download_progress() as progress:
        pulled = releases.pull(
            repo=repo, revision=revision, live="all" if live else "no", progress=progress
        )
    for each in pulled:
        typer.echo(f"{each.bundle.config.name} {each.bundle.revision}{' is live' if live else ''}")
    if not live:
        say("To make one live, run: tensight models promote NAME REVISION")


@app.command()
def promote(
    name: NameArgument,
    revision: Annotated[
        str,
        typer.Argument(
            metavar="REVISION",
            help="An installed revision or a unique prefix of it, see `models list`; or `bundled`.",
        ),
    ],
) -> None:
    """Make a revision of a model live; running servers switch to it within one second."""
    from core.registry.releases import Releases

    with closing(Releases(read_settings(), operator=OPERATOR)) as releases:
        typer.echo(f"{name} {releases.promote(name, revision)} is live")


@app.command()
def rollback(name: NameArgument) -> None:
    """Make the last good revision of a model live again."""
    from core.registry.releases import Releases

    with closing(Releases(read_settings(), operator=OPERATOR)) as releases:
        row = releases.roll_back(name)
    typer.echo(f"{name} {row.revision} is live, no longer {row.last_good}")


@app.command()
def push(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Models to publish, with the bases of those that were taught.",
            show_default="all of TENSIGHT_MODELS",
        ),
    ] = None,
    repo: RepoOption = None,
    tag: Annotated[str | None, typer.Option(help="Tag to create for the commit.")] = None,
    message: Annotated[str, typer.Option("--message", help="Commit message.")] = "Publish models",
    private: Annotated[
        bool, typer.Option("--private", help="Make a newly created repository private.")
    ] = False,
) -> None:
    """Publish models with their cards to a repository on the Hub.

    The repository is created if it does not exist. All models are verified first. The training data
    of taught models is not published.
    """
    from core.registry.releases import Releases

    with closing(Releases(read_settings())) as releases:
        commit = releases.push(
            repo=repo,
            tag=tag,
            message=message,
            private=private,
            bars=sys.stderr.isatty(),
            names=names or (),
        )
    typer.echo(f"{commit}{f' {tag}' if tag else ''}")


@app.command()
def gc() -> None:
    """Delete installed revisions that are no longer needed.

    Kept are live and last good revisions, those of active rollouts, private taught models, and the
    bases of taught models.
    """
    from core.registry.releases import Releases

    with closing(Releases(read_settings())) as releases:
        deleted, freed = releases.gc()
    for revision in deleted:
        typer.echo(revision)
    say(f"{freed / 1e6:.1f} MB were freed")


@app.command()
def verify() -> None:
    """Verify the files of all bundled and installed models, and load each model."""
    from core.registry.catalog import Catalog

    settings = read_settings()
    problems = Catalog(settings).problems()
    if not problems:
        raise ModelNotFoundError(f"There is no model in {settings.models}.")
    for name, error in problems.items():
        typer.echo(f"{name}: {error or 'good'}")
    if any(problems.values()):
        raise typer.Exit(1)
