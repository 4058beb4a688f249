"""The tab Compare: predictions of all models for one photo."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.serving.ask import votes
from demo.components import bars, photo_input, read_path, text_html
from demo.context import PageContext, error_of, language_of, refusal_html
from demo.model_choice import sort_key
from demo.tabs.leaderboard import models_chart
from demo.teaching import PageTeaching

__all__ = ["answers", "build"]

_TOP = 3


def build(context: PageContext, tab: gr.Tab, teaching: PageTeaching | None = None) -> gr.Image:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        tab: The tab, whose opening draws the chart.
        teaching: Taught classifiers, of which a visitor's own are compared, too; None for none.

    Returns:
        The component of the photo.
    """
    translate = context.translate
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            photo = photo_input(translate("photo"), "compared-photo")
        with gr.Column(scale=2, min_width=300):
            verdict = text_html(translate("compare_intro"), elem_id="agreement")
            cards = gr.HTML(elem_id="compared")
            chart = gr.HTML(elem_id="compare-chart")
    # The key of the visitor, which only the browser knows.
    visitor = gr.HTML(visible=False)

    def draw(request: gr.Request) -> str:
        try:
            results = context.predictor.models()
        except TenSightError as error:
            return refusal_html(error, language_of(request))
        return models_chart(results, language_of(request))

    async def compare(photo: str | None, key: str, request: gr.Request) -> tuple[str, str]:
        language = language_of(request)
        if photo is None:
            return locale.page_texts(language)["compare_intro"], ""
        try:
            results = await asyncio.to_thread(context.predictor.models)
            own = [] if teaching is None else await asyncio.to_thread(teaching.describe_all, key)
            shown = [*sorted(results, key=sort_key), *own]
            context.photo_limiter.check_rate(request, len(shown))
            each = await answers(
                context, read_path(photo), shown, context.photo_limiter.client(request)
            )
            cards = "".join(_card(result, each[result.config.name], language) for result in shown)
            # A visitor's classifiers know other classes, on which the models cannot agree.
            public = {result.config.name: each[result.config.name] for result in results}
            return _agreement(public, language), f'<div class="cards">{cards}</div>'
        except Exception as error:  # noqa: BLE001  # any error is shown to the visitor
            return refusal_html(error, language), ""

    free: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
    tab.select(draw, None, chart, **free, show_progress="hidden")
    photo.change(
        compare,
        [photo, visitor],
        [verdict, cards],
        # Who never taught gets no key.
        js='photo => [photo, window.tensight?.teach?.known() ?? ""]',
        **free,
        trigger_mode="always_last",
    )
    return photo


async def answers(
    context: PageContext, photo: str, results: Sequence[ModelInfo], client: str
) -> dict[str, Prediction | Exception]:
    """Classify a photo with several models concurrently.

    Args:
        context: Context of the page.
        photo: Path of the photo.
        results: The models.
        client: Key of the client that sent the photo.

    Returns:
        Prediction or error of each model, by name.

    Raises:
        Exception: All models failed; the error of the first one.
    """
    names = [result.config.name for result in results]
    asked = [context.predictor.predict(photo, model=name, client=client) for name in names]
    given = await asyncio.gather(*asked, return_exceptions=True)
    each: dict[str, Prediction | Exception] = {}
    for name, answer in zip(names, given, strict=True):
        if isinstance(answer, BaseException) and not isinstance(answer, Exception):
            raise answer
        each[name] = answer
    failed = [answer for answer in each.values() if isinstance(answer, Exception)]
    if len(failed) == len(each) and failed:
        raise failed[0]
    return each


def _agreement(each: Mapping[str, Prediction | Exception], language: locale.Language) -> str:
    texts = locale.page_texts(language)
    label, n, count = votes(each)
    if count < 2:
        return ""
    said = texts["verdict_none"] if label == "none" else locale.label_name(label, language)
    key = "compare_all" if n == count else "compare_most" if 2 * n > count else "compare_split"
    return f"<h2>{html.escape(texts[key].format(n=n, count=count, label=said))}</h2>"


def _card(result: ModelInfo, answer: Prediction | Exception, language: locale.Language) -> str:
    title = html.escape(result.config.title)
    if isinstance(answer, Exception):
        failed = locale.page_texts(language)["compare_failed"]
        why = html.escape(error_of(answer, language)[1])
        return f"<section class='card bad'><h3>{title}</h3><p>{failed}: {why}</p></section>"
    shown = bars(answer.scores, _TOP, language, locale.page_texts(language)["scores"])
    says = html.escape(locale.format_verdict(answer, language))
    spent = locale.decimal(answer.timing_ms.infer, 1, language)
    return (
        f'<section class="card"><h3>{title}</h3><p class="says">{says}</p>{shown}'
        f'<p class="small">{spent} ms</p></section>'
    )
