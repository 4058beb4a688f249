"""The command `tensight teach`."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.console import TRAIN, JsonOption, command_line, print_json, read_settings, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from core.teaching.report import TeachingReport

__all__ = ["app"]

app = typer.Typer()
_SHOWN = 10


@app.command(rich_help_panel=TRAIN)
def teach(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new model.")],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Photos: a folder for each class, or a labels.csv with the columns file and "
            "label.",
        ),
    ],
    title: Annotated[
        str | None, typer.Option(help="Display name of the model.", show_default="NAME")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Teach a classifier of your own classes with a few photos of each.

    It is installed as a candidate: `tensight models promote` makes it live. Name and revision are
    printed to stdout, and the report on its photos to stderr.
    """
    from core.serving.teaching import connect_teaching
    from core.teaching.folder import read_folder

    settings = read_settings()
    photos = read_folder(folder)
    with (
        closing(connect_teaching(settings, command=command_line())) as connected,
        _progress(len(photos)) as progress,
    ):
        model = connected.teaching.teach_named(name, photos, title=title, progress=progress)
    bundle, report = model.bundle, model.report
    if as_json:
        print_json({"name": name, "revision": bundle.revision, **report.to_dict()})
        return
    for line in _lines(report):
        say(line)
    typer.echo(f"{name} {bundle.revision}")
    say(f"To make it live, run: tensight models promote {name} {bundle.revision}")


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback that updates a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("Reading photos"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("photos", total=total)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(report: TeachingReport) -> Iterator[str]:
    """Describe the accuracy of a taught model, and how to improve it."""
    accuracy = report.accuracy
    yield (
        f"{accuracy.share:.1%} of {accuracy.n} photos are classified correctly by a model taught "
        f"without them (95% interval {accuracy.low:.1%} to {accuracy.high:.1%})."
    )
    for i, (label, recall) in enumerate(zip(report.classes, report.recall, strict=True)):
        others = ", ".join(
            f"{n} as {other}"
            for j, (other, n) in enumerate(zip(report.classes, report.confusion[i], strict=True))
            if n and i != j
        )
        yield f"  {label}: {report.confusion[i][i]} of {recall.n}" + (others and f"; {others}")
    if report.doubtful:
        yield "These may be in the wrong class:"
        for each in report.doubtful[:_SHOWN]:
            yield f"  {each.name} looks like {each.looks_like} ({each.confidence:.0%})"
        if len(report.doubtful) > _SHOWN:
            yield f"  and {len(report.doubtful) - _SHOWN} more; --json lists all"
    if report.weak:
        yield f"More photos would help: {', '.join(report.weak)}."
    for skipped in report.skipped:
        yield f"Skipped {skipped.name}: {skipped.reason}"
    if report.duplicates:
        yield f"Duplicate photos, counted once: {report.duplicates}."
