"""The commands `tensight predict` and `tensight explain`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.console import ANSWER_PHOTOS, ModelOption, print_json, read_settings, say
from core.errors import BundleError, ImageError, OutputError, PhotoReadError

if TYPE_CHECKING:
    from core.inference.prediction import Prediction
    from core.serving.predictor import Predictor

__all__ = ["app"]

app = typer.Typer()


@app.command(rich_help_panel=ANSWER_PHOTOS)
def predict(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO", help="Image files.")],
    model: ModelOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per photo and line.")
    ] = False,
) -> None:
    """Classify photos."""
    import asyncio

    from core import locale
    from core.serving.connect import connect_command

    failed = False
    with closing(connect_command(read_settings())) as predictor:
        for photo in photos:
            try:
                prediction = asyncio.run(_predict(predictor, photo, model))
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


async def _predict(predictor: Predictor, photo: str, model: str | None) -> Prediction:
    from core.serving.ask import retry_while_busy

    return await retry_while_busy(lambda: predictor.predict(photo, model=model))


@app.command(rich_help_panel=ANSWER_PHOTOS)
def explain(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="Image file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file, .png or .jpg.")],
    model: ModelOption = None,
) -> None:
    """Write a photo with a saliency map: the parts that support the predicted label."""
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(out.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"{out} must end in .png or .jpg", param_hint="'--out'")
    import asyncio

    from core import locale
    from core.output import replacing
    from core.photos.saliency import MAX_SIDE, overlay
    from core.serving.ask import retry_while_busy
    from core.serving.connect import connect_command

    with closing(connect_command(read_settings())) as predictor:
        asked = retry_while_busy(
            lambda: predictor.predict_with_preview(photo, model=model, saliency=True, side=MAX_SIDE)
        )
        try:
            previewed = asyncio.run(asked)
        except ImageError as error:
            say(f"{photo}: {error}")
            raise typer.Exit(1) from error
        spec = predictor.model(previewed.prediction.model).config.input
    prediction = previewed.prediction
    typer.echo(f"{photo}: {locale.format_verdict(prediction)}")
    if prediction.saliency is None:
        raise BundleError(
            f"The evidence maps of {prediction.model} are too coarse for a saliency map. Choose "
            "another model with --model."
        )
    picture = overlay(previewed.preview, prediction.saliency, spec)
    try:
        with replacing(out) as new:
            picture.save(new, kind)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}. Choose a file in an existing "
            "folder that you may write to."
        ) from error
    say(f"Written to {out}")
