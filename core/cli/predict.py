"""The commands `tensight predict` and `tensight explain`."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from core import locale
from core.cli.console import ModelOption, print_json, read_settings, say
from core.errors import BundleError, ImageError, OutputError, PhotoReadError
from core.inference.prediction import Prediction
from core.photos.saliency import MAX_SIDE, overlay
from core.serving.ask import retry_while_busy
from core.serving.connect import connect_command
from core.serving.predictor import Predictor, PreviewedPrediction

__all__ = ["app"]

app = typer.Typer()


@app.command()
def predict(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Files with photos.")],
    model: ModelOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a photo, one a line.")
    ] = False,
) -> None:
    """Tell what is in photos."""
    failed = False
    with closing(connect_command(read_settings())) as predictor:
        for photo in photos:
            try:
                prediction = asyncio.run(_predicted(predictor, photo, model))
            except (ImageError, PhotoReadError) as error:
                failed = True
                if as_json:
                    what = {"code": error.code, "message": str(error)}
                    print_json({"photo": photo, "error": what})
                else:
                    say(f"{photo}: {error}")
                continue
            if as_json:
                print_json(prediction.to_dict())
            else:
                shown = list(prediction.scores.items())[:3]
                scores = ", ".join(f"{label} {score:.3f}" for label, score in shown)
                typer.echo(f"{photo}: {locale.format_verdict(prediction)} [{scores}]")
    if failed:
        raise typer.Exit(1)


async def _predicted(predictor: Predictor, photo: str, model: str | None) -> Prediction:
    return await retry_while_busy(lambda: predictor.predict(photo, model=model))


async def _previewed(predictor: Predictor, photo: str, model: str | None) -> PreviewedPrediction:
    return await retry_while_busy(
        lambda: predictor.predict_with_preview(photo, model=model, saliency=True, side=MAX_SIDE)
    )


@app.command()
def explain(
    photo: Annotated[str, typer.Argument(help="A photo.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write: PNG or JPEG.")],
    model: ModelOption = None,
) -> None:
    """Show what in a photo spoke for the answer."""
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(out.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"{out} must end in .png or .jpg", param_hint="--out")
    with closing(connect_command(read_settings())) as predictor:
        try:
            previewed = asyncio.run(_previewed(predictor, photo, model))
        except ImageError as error:
            say(f"{photo}: {error}")
            raise typer.Exit(1) from error
        spec = predictor.model(previewed.prediction.model).config.input
    prediction = previewed.prediction
    typer.echo(f"{photo}: {locale.format_verdict(prediction)}")
    if prediction.saliency is None:
        raise BundleError(
            f"{prediction.model} sees too coarsely to show what spoke for its answer. Choose "
            "another model with --model."
        )
    picture = overlay(previewed.preview, prediction.saliency, spec)
    new = out.with_name(f".{out.name}.new")
    try:
        # Beside it first: what is there is replaced once the new one is whole.
        picture.save(new, kind)
        new.replace(out)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Name a file in a folder that is "
            "there, and that may be written to."
        ) from error
    say(f"Written to {out}")
