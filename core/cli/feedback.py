"""The commands `tensight feedback ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli.console import JsonOption, ModelOption, print_json, print_table, read_settings, say
from core.registry.catalog import Catalog

__all__ = ["app"]

app = typer.Typer(help="What visitors say of answers.", no_args_is_help=True)


@app.command("stats")
def show_stats(as_json: JsonOption = False) -> None:
    """Show how right each model is on the photos that visitors judged."""
    from core.store.feedback_export import feedback_stats

    rows = feedback_stats(read_settings())
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("Nobody has judged an answer yet.")
        return
    print_table(
        ["model", "revision", "judged", "right", "95% interval"],
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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    model: ModelOption = None,
) -> None:
    """Write the photos that visitors left, with what is on them, for `evaluate --photos`."""
    from core.store.feedback_export import export_photos

    settings = read_settings()
    catalog = Catalog(settings)
    labels = catalog.bundle(model or catalog.default()).config.labels
    written, left_out = export_photos(settings, folder, labels)
    why = " (judged in more than one way, or of no class of the model)" if left_out else ""
    say(f"{written} photos were written to {folder}, {left_out} left out{why}")
