"""The tab Data: the training data set, its classes, and the recall of each."""

from __future__ import annotations

import functools
import html
import logging
from collections.abc import Sequence
from typing import Any

import gradio as gr
from PIL import Image

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from demo.components import count_bars, data_url, table, text_html
from demo.context import PageContext, Samples, language_of

__all__ = ["build"]

logger = logging.getLogger(__name__)

_SIDE = 64
# CIFAR-10 as `tensight explore` counts and measures it on the 50,000 training images.
_CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_TRAINING_IMAGES, _TEST_IMAGES = 5_000, 1_000
_CHANNELS = {"red": (0.4914, 0.2470), "green": (0.4822, 0.2435), "blue": (0.4465, 0.2616)}
# Maximum number of labels to list by name, and of pairs of classes; others are counted or left out.
_MAX_NAMED = 30
_MAX_PAIRS = 5


def build(context: PageContext, tab: gr.Tab) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        tab: The tab, whose opening fills it.
    """
    translate, samples = context.translate, context.samples
    text_html(translate("data_intro"), elem_id="data-intro")
    view = gr.HTML(elem_id="data-view")

    def show_figures(request: gr.Request) -> str:
        """Describe the data set, and the default model's results on its classes."""
        language = language_of(request)
        try:
            results = context.predictor.models()
            default = context.predictor.model(context.predictor.default_model())
        except TenSightError:
            return _counts(language) + _pixels(language)
        known = _known_classes(results, language)
        columns = _counts(language) + _difficulty(default, language) + _pixels(language)
        return f'<p id="data-known">{known}</p><div class="columns">{columns}</div>'

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    tab.select(show_figures, None, view, **private, concurrency_limit=None)
    if samples is None:
        text_html(translate("data_missing"), elem_id="data-missing")
        return
    button = gr.Button(translate("data_show"), elem_id="data-show")
    shown = gr.HTML(elem_id="data-images")
    drawn = functools.cache(functools.partial(_drawn, samples))

    def show_samples(request: gr.Request) -> str:
        language = language_of(request)
        try:
            return drawn(language)
        except TenSightError as error:
            # The reason is logged only, since it may name folders of the server.
            logger.warning("Cannot show sample images of the data set: %s", error)
            return f"<p>{html.escape(locale.page_texts(language)['data_broken'])}</p>"

    button.click(show_samples, None, shown, api_visibility="private", concurrency_limit=1)


def _known_classes(results: Sequence[ModelInfo], language: locale.Language) -> str:
    """Describe which classes the models know, those of the data set or others."""
    texts = locale.page_texts(language)
    labels = dict.fromkeys(label for result in results for label in result.config.labels)
    if set(labels) == set(_CIFAR10):
        return html.escape(texts["data_same"])
    names = [locale.label_name(label, language) for label in list(labels)[:_MAX_NAMED]]
    others = len(labels) - len(names)
    listed = ", ".join(names) + (f" (+ {others})" if others else "")
    return html.escape(texts["data_others"].format(classes=listed))


def _counts(language: locale.Language) -> str:
    """Draw the number of training and test images of each class."""
    texts = locale.page_texts(language)
    total = _TRAINING_IMAGES + _TEST_IMAGES
    text = (
        f"{locale.decimal(_TRAINING_IMAGES, 0, language)} {texts['data_train']} + "
        f"{locale.decimal(_TEST_IMAGES, 0, language)} {texts['data_test']}"
    )
    rows = [(locale.label_name(label, language), text, 1.0) for label in _CIFAR10]
    split = f'style="--split:{_TRAINING_IMAGES / total:.3f}"'
    return (
        f'<section id="data-counts" {split}><h3>{html.escape(texts["data_counts"])}</h3>'
        f"{count_bars(rows, texts['data_counts'])}"
        f"<p>{html.escape(texts['data_balanced'])}</p></section>"
    )


def _difficulty(result: ModelInfo, language: locale.Language) -> str:
    """Draw the recall of each class on the test images, and list the most confused pairs."""
    texts, test, labels = locale.page_texts(language), result.metrics.test, result.config.labels
    rows = [
        (
            locale.label_name(each.label, language),
            f"{locale.decimal(100 * each.recall, 1, language)}%",
            each.recall,
        )
        for each in sorted(test.classes, key=lambda each: -each.recall)[:_MAX_NAMED]
    ]
    mistakes = sorted(
        (
            (n, truth, answer)
            for truth, counts in zip(labels, test.confusion, strict=True)
            for answer, n in zip(labels, counts, strict=True)
            if truth != answer and n
        ),
        reverse=True,
    )[:_MAX_PAIRS]
    pairs = [
        [
            texts["data_pair"].format(
                truth=locale.label_name(truth, language), answer=locale.label_name(answer, language)
            ),
            str(n),
        ]
        for n, truth, answer in mistakes
    ]
    text = html.escape(texts["data_hard_text"].format(title=result.config.title))
    return (
        f'<section id="data-hard"><h3>{html.escape(texts["data_hard"])}</h3><p>{text}</p>'
        f"{count_bars(rows, texts['data_hard'])}"
        f"{table([texts['data_confused'], texts['models_rows']], pairs)}</section>"
    )


def _pixels(language: locale.Language) -> str:
    """Render mean and standard deviation of the colour channels."""
    texts = locale.page_texts(language)
    rows = [
        [texts[f"data_{name}"], *(locale.decimal(value, 4, language) for value in values)]
        for name, values in _CHANNELS.items()
    ]
    head = [texts["data_channel"], texts["data_mean"], texts["data_deviation"]]
    return f'<section id="data-pixels">{table(head, rows, texts["data_pixels"])}</section>'


def _drawn(samples: Samples, language: locale.Language) -> str:
    texts = locale.page_texts(language)
    rows = []
    for label, each in samples().items():
        name = html.escape(locale.label_name(label, language))
        alt = texts["data_alt"].format(label=name)
        pictures = "".join(
            f'<img alt="{alt}" width="{_SIDE}" height="{_SIDE}" '
            f'src="{data_url(Image.fromarray(image))}">'
            for image in each
        )
        rows.append(f"<section><h3>{name}</h3><div>{pictures}</div></section>")
    return f'<div class="samples">{"".join(rows)}</div>'
