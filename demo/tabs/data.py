"""The tab Data: the training data set and its classes."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Sequence

import gradio as gr
from PIL import Image

from core import locale
from core.errors import TenSightError
from core.text import escape_markdown
from demo.components import data_url
from demo.context import PageContext, Samples, language_of

__all__ = ["build"]

logger = logging.getLogger(__name__)

_SIDE = 64
_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Maximum number of labels to list by name; the others are counted.
_MAX_NAMED = 30


def build(context: PageContext, page: gr.Blocks) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        page: The page, whose load event fills the list of classes.
    """
    words, samples = context.words, context.samples
    gr.Markdown(words("data_intro"))
    gr.Markdown(words("data_facts"))
    known = gr.Markdown(elem_id="data-known")

    def classes(request: gr.Request) -> str:
        """List the classes of the data set and, where they differ, those of the current models."""
        language = language_of(request)
        here = locale.page_texts(language)
        told = here["data_classes"].format(classes=_named(_CIFAR10, language))
        try:
            results = context.predictor.models()
        except TenSightError:
            return told
        labels = dict.fromkeys(label for result in results for label in result.config.labels)
        if set(labels) == set(_CIFAR10):
            return f"{told} {here['data_same']}"
        return f"{told} {here['data_others'].format(classes=_named(list(labels), language))}"

    page.load(
        classes,
        None,
        known,
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
    )
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
            # The reason is logged only, since it may name folders of the server.
            logger.warning("Cannot show sample images of the data set: %s", error)
            return f"<p>{html.escape(locale.page_texts(language)['data_broken'])}</p>"

    button.click(show, None, shown, api_visibility="private", concurrency_limit=1)


def _named(labels: Sequence[str], language: locale.Language) -> str:
    names = [escape_markdown(locale.label_name(label, language)) for label in labels[:_MAX_NAMED]]
    others = len(labels) - len(names)
    return ", ".join(names) + (f" (+ {others})" if others else "")


def _drawn(samples: Samples, language: locale.Language) -> str:
    here = locale.page_texts(language)
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
