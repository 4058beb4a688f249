"""UI components and HTML helpers shared by the tabs."""

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
from core.bundle.leaderboard import ModelInfo, selectable
from core.bundle.metrics import Metrics
from core.errors import PhotoReadError
from demo.context import PageContext, language_of

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

# Bins of the reliability diagram with fewer images are too noisy to draw.
_FEW = 10


def photo_input(label: Any, elem_id: str) -> gr.Image:
    """Create an image input for upload, drag and drop, clipboard and webcam.

    Event handlers receive the path of the upload, as `uploaded` returns it, or None.

    Args:
        label: Label of the component.
        elem_id: HTML id of the component.
    """
    # The column reserves the image's space, since the image renders after what is below it.
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

    # Gradio's own preprocessing would decode the file without our limits and error messages. The
    # method is replaced instead of overridden, because Gradio writes a .pyi file for each subclass.
    photo.preprocess = path  # type: ignore[method-assign]
    return photo


def uploaded(path: object, folder: str) -> str:
    """Validate the path of an upload, since API clients can send any path.

    Args:
        path: The path as sent.
        folder: Gradio's upload folder.

    Returns:
        The path; an empty string if it is not inside the folder.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        return ""
    # `resolve` follows symbolic links, so that none can point outside the folder.
    return path if Path(path).resolve().is_relative_to(Path(folder).resolve()) else ""


def choice(result: ModelInfo, language: locale.Language) -> tuple[str, str]:
    """Format a model as a choice of the model selector.

    Returns:
        The text, title with test accuracy and latency, and the value, the model's name.
    """
    figures = result.metrics
    accuracy = locale.decimal(100 * figures.test.accuracy, 1, language)
    speed = locale.decimal(figures.milliseconds, 1, language)
    return f"{result.config.title} · {accuracy}% · {speed} ms", result.config.name


def chosen(context: PageContext, request: gr.Request) -> tuple[list[tuple[str, str]], str]:
    """List the choices of the model selector, and the one that the query `?model=` selects.

    Args:
        context: Context of the page.
        request: Request of the visitor.

    Returns:
        Text and value of each choice, and the selected value: the default model without a valid
        query.

    Raises:
        ModelNotFoundError, PredictorError: As raised by the predictor.
    """
    results, value = context.predictor.models(), context.predictor.default_model()
    asked = request.query_params.get("model", "")
    if asked in [result.config.name for result in results]:
        value = asked
    shown = selectable(results, context.predictor.default_model(), value)
    return [choice(result, language_of(request)) for result in shown], value


def reliability_plot() -> gr.LinePlot:
    """Create the plot component for the reliability diagram of `reliability`."""
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
    """Compute the reliability diagram of a model.

    Args:
        figures: Metrics of the model.
        language: Language of the texts.

    Returns:
        Update for the component of `reliability_plot`, and a text alternative with the ECE.
    """
    words = locale.page_texts(language)
    bins = figures.test.reliability
    points = [(words["model"], each.confidence, each.accuracy) for each in bins if each.n >= _FEW]
    points += [(words["ideal"], 0.0, 0.0), (words["ideal"], 1.0, 1.0)]
    drawn = gr.update(
        value=pandas.DataFrame(points, columns=["of", "confidence", "accuracy"]),
        x_title=words["confidence"],  # plots do not translate their initial titles
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
    """Render the most probable labels as an HTML list with bars and percentages.

    Args:
        scores: Probability of each label, in descending order.
        most: Maximum number of labels.
        language: Language of the label names.
        words: Accessible name of the list, for screen readers.
    """
    rows = "".join(
        f'<li style="--share:{score:.4f}"><span>{html.escape(locale.label_name(label, language))}'
        f"</span><span>{html.escape(locale.percent(score))}</span></li>"
        for label, score in list(scores.items())[:most]
    )
    return f'<ol class="bars" aria-label="{html.escape(words)}">{rows}</ol>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Render an HTML table whose first column holds the row headers.

    Args:
        head: Column headers, as plain text.
        rows: Cells of each row, as plain text, as many as there are columns.
        caption: Caption of the table; empty for none.
    """
    columns = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    named = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # The wrapper is focusable, so that keyboard users can scroll a wide table.
    name = html.escape(caption or head[0])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table>{named}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_url(picture: Image.Image, kind: str = "PNG") -> str:
    """Encode an image as a data URL, so that no file has to be stored on the server.

    Args:
        picture: The image.
        kind: Format, `PNG` or `JPEG`.
    """
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def read_path(path: str | None) -> str:
    """Return the path of an upload.

    Raises:
        PhotoReadError: There is no upload, or its path is not valid.
    """
    if not path:
        raise PhotoReadError
    return path
