"""The tab Models: leaderboard, and the results and card of one model."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core import locale
from core.bundle.card import card
from core.bundle.leaderboard import ModelInfo
from core.errors import ModelNotFoundError, TenSightError
from demo.components import markdown_html, text_html
from demo.context import PageContext, language_of, refusal_html
from demo.model_choice import sort_key
from demo.tabs.leaderboard import leaderboard, models_chart
from demo.tabs.model_details import calibration, class_table, confusion_matrix, learning_curves

__all__ = ["build"]


def build(context: PageContext, tab: gr.Tab) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        tab: The tab, whose opening fills it.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    translate = context.translate
    text_html(translate("models_intro"), elem_id="models-intro")
    board = gr.HTML(elem_id="leaderboard")
    chart = gr.HTML(elem_id="models-chart")
    picked = gr.Dropdown(
        _choices(_all(context)),
        value=context.predictor.default_model(),
        label=translate("models_pick"),
        filterable=False,
        elem_id="picked",
    )
    note = gr.HTML(elem_id="picked-note")
    with gr.Row():
        curves = gr.HTML(elem_id="curves")
        reliability = gr.HTML(elem_id="reliability")
    confusion = gr.HTML(elem_id="confusion")
    classes = gr.HTML(elem_id="classes")
    # Invisible until the tab is opened, since Gradio loads the scripts of all visible components.
    with gr.Accordion(
        translate("models_card"), open=False, visible=False, elem_id="card"
    ) as details:
        text = gr.HTML()

    def show_all(request: gr.Request) -> tuple[Any, ...]:
        """Render the leaderboard of the current models, and update the selector."""
        language = language_of(request)
        try:
            results = _all(context)
        except TenSightError as error:
            return refusal_html(error, language), "", gr.update(), gr.update()
        served = [result for result in results if result.revision]
        return (
            leaderboard(results, language),
            models_chart(served, language),
            gr.update(choices=_choices(results)),
            gr.update(visible=True),
        )

    def show(name: str, request: gr.Request) -> tuple[Any, ...]:
        """Render the details of one model."""
        return _details(context, name, language_of(request))

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    private |= {"concurrency_limit": None}
    tab.select(show_all, None, [board, chart, picked, details], **private)
    gr.on(
        [tab.select, picked.change],
        show,
        picked,
        [note, curves, reliability, confusion, classes, text],
        **private,
    )


def _details(context: PageContext, name: str, language: locale.Language) -> tuple[Any, ...]:
    texts = locale.page_texts(language)
    try:
        result = next((each for each in _all(context) if each.config.name == name), None)
        if result is None:
            raise ModelNotFoundError(f"There is no model {name!r}. Choose another one.")
    except TenSightError as error:
        # The error is shown above the details of the model that was selected before.
        return refusal_html(error, language), *[gr.update()] * 5
    notes = [] if result.revision else [texts["models_figures_only"]]
    if not result.metrics.curves:
        notes.append(texts["models_no_curves"])
    return (
        " ".join(notes),
        learning_curves(result.metrics, language),
        calibration(result.metrics, language),
        confusion_matrix(result, language),
        class_table(result, language),
        markdown_html(card(result.config, result.metrics, pictures=False)),
    )


def _all(context: PageContext) -> list[ModelInfo]:
    """List all models, also those whose weights are not stored, in the order of the table."""
    return sorted([*context.predictor.models(), *context.unbundled], key=sort_key)


def _choices(results: list[ModelInfo]) -> list[tuple[str, str]]:
    return [(result.config.title, result.config.name) for result in results]
