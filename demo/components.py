"""UI components and HTML helpers shared by the tabs."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from PIL import Image

from core import locale
from core.errors import PhotoReadError

__all__ = [
    "bars",
    "count_bars",
    "data_url",
    "markdown_html",
    "photo_input",
    "read_path",
    "table",
    "text_html",
    "uploaded",
]


def text_html(text: Any, tag: str = "p", **options: Any) -> gr.HTML:
    """Create a translated paragraph or heading without the cost of a Markdown component.

    Args:
        text: A text of `PageContext.translate`.
        tag: Element that holds it.
        options: Further arguments of `gr.HTML`.
    """
    return gr.HTML(text, html_template=f"<{tag}>${{value}}</{tag}>", **options)


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
            show_label=False,
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


def bars(scores: Mapping[str, float], limit: int, language: locale.Language, name: str = "") -> str:
    """Render the most probable labels as an HTML list with bars and percentages.

    Args:
        scores: Probability of each label, in descending order.
        limit: Maximum number of labels.
        language: Language of the label names.
        name: Accessible name of the list, for screen readers.
    """
    rows = "".join(
        f'<li style="--share:{score:.4f}">'
        f"<span>{html.escape(locale.label_name(label, language))}</span>"
        f"<span>{html.escape(locale.percent(score))}</span></li>"
        for label, score in list(scores.items())[:limit]
    )
    return f'<ol class="bars" aria-label="{html.escape(name)}">{rows}</ol>'


def count_bars(rows: Sequence[tuple[str, str, float]], name: str) -> str:
    """Render quantities as an HTML list with bars.

    Args:
        rows: Name, formatted value and share of the full width, 0 to 1, of each.
        name: Accessible name of the list, for screen readers.
    """
    items = "".join(
        f'<li style="--share:{share:.4f}"><span>{html.escape(label)}</span>'
        f"<span>{html.escape(value)}</span></li>"
        for label, value, share in rows
    )
    return f'<ul class="bars" aria-label="{html.escape(name)}">{items}</ul>'


def markdown_html(text: str) -> str:
    """Render Markdown as HTML; HTML in the text is shown as text.

    Rendering it here spares every visitor the scripts of Gradio's Markdown component. A table can
    be scrolled with the keyboard, as one of `table` can; it is named after the heading above it.
    """
    parser = MarkdownIt("js-default")
    tokens = parser.parse(text)
    heading = ""
    for i, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[i + 1].content
        elif token.type == "table_open":
            token.meta["name"] = heading
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    return str(parser.renderer.render(tokens, parser.options, {}))


def _open_table(
    _renderer: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _environment: EnvType,
) -> str:
    name = html.escape(tokens[index].meta["name"])
    # A group, not a region as in `table`: tables under one heading share its name.
    return f'<div class="wide" tabindex="0" role="group" aria-label="{name}"><table>\n'


def _close_table(*_: object) -> str:
    return "</table></div>\n"


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
    named = f"<caption><span>{html.escape(caption)}</span></caption>" if caption else ""
    # The wrapper is focusable, so that keyboard users can scroll a wide table.
    name = html.escape(caption or head[0])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f"<table>{named}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_url(picture: Image.Image, kind: str = "PNG", quality: int = 85) -> str:
    """Encode an image as a data URL, so that no file has to be stored on the server.

    Args:
        picture: The image.
        kind: Format, `PNG` or `JPEG`.
        quality: Quality of a JPEG, up to 95.
    """
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=quality)
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
