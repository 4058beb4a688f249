"""The commands `tensight feedback ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli.console import JsonOption, ModelOption, print_json, print_table, read_settings, say
from core.cli.panels import PanelGroup

__all__ = ["app"]

app = typer.Typer(cls=PanelGroup, help="Evaluate and export user feedback.", no_args_is_help=True)


@app.command("stats")
def show_stats(as_json: JsonOption = False) -> None:
    """Show the accuracy of each revision on photos with user feedback."""
    from core.registry.taught import is_private
    from core.store.feedback_export import feedback_stats

    # Whoever knows the id of a private model may use it.
    rows = [row for row in feedback_stats(read_settings()) if not is_private(row["model"])]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("There is no user feedback yet.")
        return
    print_table(
        ["model", "revision", "n", "accuracy", "95% interval"],
        [
            [
                row["model"],
                row["revision"],
                str(row["n"]),
                f"{row['share']:.3f}",
                f"{row['low']:.3f} to {row['high']:.3f}",
            ]
            for row in rows
        ],
    )


@app.command("export")
def export_feedback(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
    model: ModelOption = None,
) -> None:
    """Export the stored photos with their labels, for evaluation and training."""
    from core.registry.catalog import Catalog
    from core.store.feedback_export import export_photos

    settings = read_settings()
    catalog = Catalog(settings)
    labels = catalog.bundle(model or catalog.default()).config.labels
    written, skipped = export_photos(settings, folder, labels)
    why = " (with contradictory labels, or with a label that the model lacks)" if skipped else ""
    say(f"{written} photos were written to {folder}, {skipped} skipped{why}")
