"""The tab Data: what the models learned from."""

from __future__ import annotations

import functools
import html
import logging

import gradio as gr
from PIL import Image

from core import locale
from core.errors import TenSightError
from demo.front import Front, Samples, data_url, language_of

__all__ = ["build"]

logger = logging.getLogger(__name__)

_SIDE = 64


def build(front: Front) -> None:
    """Put the tab's parts into the page that is being built."""
    words, samples = front.words, front.samples
    gr.Markdown(words("data_intro"))
    gr.Markdown(words("data_facts"))
    gr.Markdown(words("data_classes"))
    if samples is None:
        gr.Markdown(words("data_missing"), elem_id="data-missing")
        return
    button = gr.Button(words("data_show"), elem_id="data-show")
    shown = gr.HTML(elem_id="data-images")
    drawn = functools.cache(functools.partial(_drawn, samples))

    def show(request: gr.Request) -> str:
        language = language_of(request)
        try:
            return drawn(language)
        except TenSightError as error:
            # Who runs the page reads why; it may name folders.
            logger.warning("No images can be shown: %s", error)
            return f"<p>{html.escape(locale.page_words(language)['data_broken'])}</p>"

    button.click(show, None, shown, api_visibility="private", concurrency_limit=1)


def _drawn(samples: Samples, language: locale.Language) -> str:
    here = locale.page_words(language)
    rows = []
    for label, each in samples().items():
        name = html.escape(locale.label_name(label, language))
        alt = here["data_alt"].format(label=name)
        pictures = "".join(
            f'<img alt="{alt}" width="{_SIDE}" height="{_SIDE}" '
            f'src="{data_url(Image.fromarray(image))}">'
            for image in each
        )
        rows.append(f"<section><h3>{name}</h3><div>{pictures}</div></section>")
    return f'<div class="samples">{"".join(rows)}</div>'
