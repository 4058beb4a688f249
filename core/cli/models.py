"""The commands `tensight models ...`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from core.bundle.leaderboard import ModelInfo
from core.cli.console import (
    JsonOption,
    download_progress,
    print_json,
    print_table,
    read_settings,
    say,
)
from core.errors import ModelNotFoundError
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore
from core.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="The models that are there.", no_args_is_help=True)
RepoOption = Annotated[
    str | None,
    typer.Option("--repo", help="Repository, OWNER/NAME.", show_default="TENSIGHT_HUB_REPO"),
]
RevisionOption = Annotated[
    str | None,
    typer.Option("--revision", help="Branch, tag or commit.", show_default="TENSIGHT_HUB_REVISION"),
]


@app.command("list")
def list_models(
    as_json: JsonOption = False,
    remote: Annotated[
        bool, typer.Option("--remote", help="Show those of the repository on the Hub instead.")
    ] = False,
    repo: RepoOption = None,
    revision: RevisionOption = None,
) -> None:
    """Show every model with its figures on the test set."""
    settings = read_settings()
    if remote:
        _list_remote(settings, repo, revision, as_json)
        return
    if repo is not None or revision is not None:
        raise typer.BadParameter("--repo and --revision go with --remote", param_hint="models list")
    catalog = Catalog(settings)
    results = catalog.results()
    live = catalog.live()
    others = [
        each
        for each in RevisionStore(settings.home).all()
        if (each.bundle.config.name, each.bundle.revision)
        not in {(result.config.name, result.revision) for result in results}
    ]
    there = any(result.revision is not None for result in results)
    default = catalog.default() if there or not (as_json or others) else None

    def state(name: str, revision: str | None, answers: bool) -> str:
        row = live.get(name)
        if not answers:
            return "last good" if row is not None and row.last_good == revision else "candidate"
        if revision is None:
            return "figures only"
        if row is None:
            return "bundled"
        return "live" if catalog.is_live(name, revision) else "stands in"

    if as_json:
        rows = [
            result.to_dict()
            | {"default": _name(result) == default}
            | {"state": state(_name(result), result.revision, answers=True)}
            for result in results
        ]
        for each in others:
            bundle = each.bundle
            result = ModelInfo(bundle.config, bundle.metrics(), bundle.revision)
            other = {
                "default": False,
                "state": state(_name(result), result.revision, answers=False),
            }
            rows.append(result.to_dict() | other)
        print_json(rows)
        return
    print_table(
        ["name", "state", "revision", "family", "accuracy", "report", "ECE", "parameters", "ms"],
        [
            [
                f"{_name(result)} (default)" if _name(result) == default else _name(result),
                state(_name(result), result.revision, answers=True),
                result.revision or "",
                result.config.family,
                f"{result.metrics.test.accuracy:.4f}",
                f"{result.metrics.reported.accuracy:.4f}" if result.metrics.reported else "",
                f"{result.metrics.test.ece:.4f}",
                f"{result.metrics.parameters:,}",
                f"{result.metrics.milliseconds:.1f}",
            ]
            for result in results
        ],
    )
    if others:
        typer.echo("Here, and not live:")
        print_table(
            ["name", "state", "revision", "from", "commit", "since"],
            [
                [
                    each.bundle.config.name,
                    state(each.bundle.config.name, each.bundle.revision, answers=False),
                    each.bundle.revision,
                    each.repo,
                    each.commit[:12],
                    each.date,
                ]
                for each in others
            ],
        )


@app.command()
def pull(
    repo: RepoOption = None,
    revision: RevisionOption = None,
    live: Annotated[
        bool, typer.Option("--promote", help="Also make all of them live, in one step.")
    ] = False,
) -> None:
    """Bring the models of a repository on the Hub here; nothing answers with them yet.

    Each file is checked, and each model loaded by another process, before it is taken.
    """
    from core.registry import releases

    with download_progress() as progress:
        pulled = releases.pull(
            read_settings(),
            repo=repo,
            revision=revision,
            live="all" if live else "no",
            progress=progress,
        )
    for each in pulled:
        typer.echo(f"{each.bundle.config.name} {each.bundle.revision}{' is live' if live else ''}")
    if not live:
        say("Make one live with: tensight models promote NAME REVISION")


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    revision: Annotated[
        str,
        typer.Argument(
            help="One that is here, as `models list` shows it or how it begins; bundled."
        ),
    ],
) -> None:
    """Make a revision of a model live; running fronts answer with it within a second."""
    from core.registry import releases

    typer.echo(f"{name} {releases.promote(read_settings(), name, revision)} is live")


@app.command()
def rollback(name: Annotated[str, typer.Argument(help="Name of the model.")]) -> None:
    """Make the last good revision of a model live again, in place of the one that is."""
    from core.registry import releases

    row = releases.roll_back(read_settings(), name)
    typer.echo(f"{name} {row.revision} is live, no longer {row.last_good}")


@app.command()
def push(
    repo: RepoOption = None,
    tag: Annotated[str | None, typer.Option(help="Tag to put on the commit.")] = None,
    message: Annotated[str, typer.Option("--message", help="Of the commit.")] = "Publish models",
    private: Annotated[
        bool, typer.Option("--private", help="A repository that is made is seen by you alone.")
    ] = False,
) -> None:
    """Publish the models of TENSIGHT_MODELS, with all cards, in a repository on the Hub.

    The repository is made where there is none. A model that does not verify is refused.
    """
    from core.registry import releases

    commit = releases.push(
        read_settings(),
        repo=repo,
        tag=tag,
        message=message,
        private=private,
        bars=sys.stderr.isatty(),
    )
    typer.echo(f"{commit}{f' {tag}' if tag else ''}")


@app.command()
def gc() -> None:
    """Delete what was pulled and is neither live nor the last good one."""
    from core.registry import releases

    gone, freed = releases.gc(read_settings())
    for revision in gone:
        typer.echo(revision)
    say(f"{freed / 1e6:.1f} MB were freed")


@app.command()
def verify() -> None:
    """Check every file of every model, and load it; of those that were pulled too."""
    settings = read_settings()
    problems = Catalog(settings).problems()
    if not problems:
        raise ModelNotFoundError(f"There is no model in {settings.models}.")
    for name, error in problems.items():
        typer.echo(f"{name}: {error or 'good'}")
    if any(problems.values()):
        raise typer.Exit(1)


def _list_remote(settings: Settings, repo: str | None, revision: str | None, as_json: bool) -> None:
    from core.registry import releases

    found = releases.list_remote(settings, repo=repo, revision=revision)
    if as_json:
        print_json(
            [
                ModelInfo(each.config, each.metrics, each.revision).to_dict() | {"here": each.here}
                for each in found
            ]
        )
        return
    rows = [
        [
            each.config.name,
            each.config.family,
            each.revision,
            f"{each.metrics.test.accuracy:.4f}",
            f"{each.metrics.milliseconds:.1f}",
            "yes" if each.here else "no",
        ]
        for each in found
    ]
    print_table(["name", "family", "revision", "accuracy", "ms", "here"], rows)


def _name(result: ModelInfo) -> str:
    return result.config.name
