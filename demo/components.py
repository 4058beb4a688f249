"""Components that several tabs of the page share."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import pandas
from gradio.data_classes import ImageData
from PIL import Image

from core import locale
from core.bundle.leaderboard import Result, offered
from core.bundle.metrics import Metrics
from core.errors import PhotoReadError
from demo.context import Front, language_of

__all__ = [
    "bars",
    "choice",
    "chosen",
    "data_url",
    "photo_input",
    "read_path",
    "reliability",
    "reliability_plot",
    "table",
    "uploaded",
]

# Images: what fewer of them give says nothing.
_FEW = 10


def photo_input(label: Any, elem_id: str) -> gr.Image:
    """A photo by upload, drop, paste or camera; handlers get its path, see `uploaded`."""
    # The image comes later than what stands under it.
    with gr.Column(elem_classes="photo-place"):
        photo = gr.Image(
            type="filepath",
            sources=["upload", "webcam", "clipboard"],
            label=label,
            height=360,
            elem_id=elem_id,
        )

    def path(payload: ImageData | None) -> str | None:
        return None if payload is None else uploaded(payload.path, photo.GRADIO_CACHE)

    # Gradio would open the file itself, and know neither our limits nor our words. A subclass would
    # do too, but Gradio writes a .pyi file beside each one.
    photo.preprocess = path  # type: ignore[method-assign]
    return photo


def uploaded(path: object, folder: str) -> str:
    """Path of an uploaded file; an empty one where it is none: a program can send any.

    Args:
        path: What was sent.
        folder: Where Gradio keeps uploads.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        return ""
    # `resolve` follows links, so none leads out of the folder.
    return path if Path(path).resolve().is_relative_to(Path(folder).resolve()) else ""


def choice(result: Result, language: locale.Language) -> tuple[str, str]:
    """An entry of the switch between models: title, accuracy and speed; and the name."""
    figures = result.metrics
    accuracy = locale.decimal(100 * figures.test.accuracy, 1, language)
    speed = locale.decimal(figures.milliseconds, 1, language)
    return f"{result.config.title} · {accuracy}% · {speed} ms", result.config.name


def chosen(front: Front, request: gr.Request) -> tuple[list[tuple[str, str]], str]:
    """The switch's entries, and which of them `?model=` of the address chooses.

    Raises:
        ModelNotFoundError, PredictorError: As of the predictor.
    """
    results, value = front.predictor.models(), front.predictor.default_model()
    asked = request.query_params.get("model", "")
    if asked in [result.config.name for result in results]:
        value = asked
    shown = offered(results, front.predictor.default_model(), value)
    return [choice(result, language_of(request)) for result in shown], value


def reliability_plot() -> gr.LinePlot:
    """Where `reliability` is drawn."""
    return gr.LinePlot(
        x="confidence",
        y="accuracy",
        x_lim=[0, 1],
        y_lim=[0, 1],
        color="of",
        color_title=" ",
        height=270,
        show_label=False,
    )


def reliability(figures: Metrics, language: locale.Language) -> tuple[dict[str, Any], str]:
    """The reliability diagram as an update of a `gr.LinePlot`, and the same in sentences."""
    words = locale.page_words(language)
    bins = figures.test.reliability
    points = [(words["model"], each.confidence, each.accuracy) for each in bins if each.n >= _FEW]
    points += [(words["ideal"], 0.0, 0.0), (words["ideal"], 1.0, 1.0)]
    drawn = gr.update(
        value=pandas.DataFrame(points, columns=["of", "confidence", "accuracy"]),
        x_title=words["confidence"],  # a plot does not translate what it was built with
        y_title=words["right"],
    )
    sentences = [
        words["calibrated"].format(
            n=locale.decimal(figures.test.n, 0, language),
            ece=f"{locale.decimal(100 * figures.test.ece, 1, language)}%",
        )
    ]
    photos = figures.photos
    if photos is not None and photos.accuracy is not None and photos.confidence is not None:
        sentences.append(
            words["calibrated_on_photos"].format(
                n=photos.accuracy.n,
                confidence=f"{photos.confidence:.0%}",
                right=f"{photos.accuracy.share:.0%}",
            )
        )
    return drawn, " ".join(sentences)


def bars(scores: Mapping[str, float], most: int, language: locale.Language, words: str = "") -> str:
    """HTML of the most probable labels, each with its confidence as a bar and in words.

    Args:
        scores: Probability of each label, most probable first.
        most: How many to show.
        language: Of the labels.
        words: What the list is of, for who cannot see it.
    """
    rows = "".join(
        f'<li style="--share:{score:.4f}"><span>{html.escape(locale.label_name(label, language))}'
        f"</span><span>{html.escape(locale.percent(score))}</span></li>"
        for label, score in list(scores.items())[:most]
    )
    return f'<ol class="bars" aria-label="{html.escape(words)}">{rows}</ol>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """HTML of a table whose first column names the rows; all cells are text.

    Args:
        head: Names of the columns.
        rows: As many cells each.
        caption: What the table is about.
    """
    columns = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    named = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # Who uses keys alone must be able to scroll it.
    name = html.escape(caption or head[0])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table>{named}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_url(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture to stand in a page itself: nothing is left on the server."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def read_path(path: str | None) -> str:
    """The path that a photo was uploaded to.

    Raises:
        PhotoReadError: It is none.
    """
    if not path:
        raise PhotoReadError
    return path
