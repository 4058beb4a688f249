"""The commands `tensight predict` and `tensight explain`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from core import locale
from core.cli.console import ModelOption, print_json, read_settings, say
from core.errors import BundleError, BusyError, ImageError, OutputError, PhotoReadError, RateError
from core.inference.prediction import Prediction
from core.output import replacing
from core.photos.saliency import MAX_SIDE, overlay
from core.serving.connect import connect_command
from core.serving.predictor import Predictor, PreviewedPrediction

__all__ = ["app"]

app = typer.Typer()

_TRIES = 20
_LONGEST_PAUSE_S = 60


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


_Answer = TypeVar("_Answer")


async def _patiently(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer to a photo; where all places are taken, it comes back when it is told to."""
    for _ in range(_TRIES):
        try:
            return await ask()
        except (BusyError, RateError) as error:
            await asyncio.sleep(min(error.retry_after, _LONGEST_PAUSE_S))
    return await ask()


async def _predicted(predictor: Predictor, photo: str, model: str | None) -> Prediction:
    return await _patiently(lambda: predictor.predict(photo, model=model))


async def _previewed(predictor: Predictor, photo: str, model: str | None) -> PreviewedPrediction:
    return await _patiently(
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
        configs = {result.config.name: result.config for result in predictor.models()}
    prediction = previewed.prediction
    typer.echo(f"{photo}: {locale.format_verdict(prediction)}")
    if prediction.saliency is None:
        raise BundleError(
            f"{prediction.model} sees too coarsely to show what spoke for its answer. Choose "
            "another model with --model."
        )
    picture = overlay(previewed.preview, prediction.saliency, configs[prediction.model].input)
    try:
        with replacing(out) as new:
            picture.save(new, kind)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Name a file in a folder that is "
            "there, and that may be written to."
        ) from error
    say(f"Written to {out}")
