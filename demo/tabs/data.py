"""The tab Data: what the models learned from."""

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
from demo.context import Front, Samples, language_of

__all__ = ["build"]

logger = logging.getLogger(__name__)

_SIDE = 64
_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Labels of models: more are only counted.
_MOST_NAMED = 30


def build(front: Front, page: gr.Blocks) -> None:
    """Put the tab's parts into the page that is being built."""
    words, samples = front.words, front.samples
    gr.Markdown(words("data_intro"))
    gr.Markdown(words("data_facts"))
    known = gr.Markdown(elem_id="data-known")

    def classes(request: gr.Request) -> str:
        """The data set's, and those of the models that are there now."""
        language = language_of(request)
        here = locale.page_words(language)
        told = here["data_classes"].format(classes=_named(_CIFAR10, language))
        try:
            results = front.predictor.models()
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
            # Who runs the page reads why; it may name folders.
            logger.warning("No images can be shown: %s", error)
            return f"<p>{html.escape(locale.page_words(language)['data_broken'])}</p>"

    button.click(show, None, shown, api_visibility="private", concurrency_limit=1)


def _named(labels: Sequence[str], language: locale.Language) -> str:
    names = [escape_markdown(locale.label_name(label, language)) for label in labels[:_MOST_NAMED]]
    others = len(labels) - len(names)
    return ", ".join(names) + (f" (+ {others})" if others else "")


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
