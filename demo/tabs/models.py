"""The tab Models: leaderboard, training curves, calibration and confusion matrix of each model."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pandas

from core import locale
from core.bundle.card import card
from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import Metrics, ProportionEstimate
from core.errors import ModelNotFoundError, TenSightError
from demo.components import reliability, reliability_plot, table
from demo.context import PageContext, language_of, refusal

__all__ = ["build"]

# Maximum number of classes of a confusion matrix that is still legible.
_MAX_CLASSES = 30
# Placeholder for a missing value.
_NONE = "–"


def build(context: PageContext, page: gr.Blocks) -> None:
    """Build the tab inside the page's current Gradio context.

    Args:
        context: Context of the page.
        page: The page, whose load event fills the tables.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    words = context.words
    gr.Markdown(words("models_intro"))
    leaderboard = gr.HTML(elem_id="leaderboard")
    picked = gr.Dropdown(
        [(result.config.title, result.config.name) for result in _all(context)],
        value=context.predictor.default_model(),
        label=words("models_pick"),
        elem_id="picked",
    )
    note = gr.Markdown(elem_id="picked-note")
    with gr.Column(elem_id="curves") as learned:
        gr.Markdown(words("models_curves"))
        curves = gr.LinePlot(
            x="epoch", y="share", color="of", color_title=" ", height=280, show_label=False
        )
        told = gr.Markdown()
    with gr.Column(elem_id="reliability"):
        gr.Markdown(words("models_trust"))
        diagram = reliability_plot()
        calibration = gr.Markdown()
    confusion = gr.HTML(elem_id="confusion")
    classes = gr.HTML(elem_id="classes")
    with gr.Accordion(words("models_card"), open=False, elem_id="card"):
        text = gr.Markdown()

    def board(request: gr.Request) -> tuple[str, dict[str, Any]]:
        """Render the leaderboard of the current models, and update the selector."""
        try:
            results = _all(context)
        except TenSightError as error:
            why = html.escape(locale.format_error(error, language_of(request)))
            return f"<p>{why}</p>", gr.update()
        there = [(result.config.title, result.config.name) for result in results]
        return _leaderboard(results, language_of(request)), gr.update(choices=there)

    def show(name: str, request: gr.Request) -> tuple[Any, ...]:
        """Render the details of one model."""
        language = language_of(request)
        here = locale.page_texts(language)
        try:
            result = next((r for r in _all(context) if r.config.name == name), None)
            if result is None:
                raise ModelNotFoundError(f"There is no model {name!r}. Choose another one.")
        except TenSightError as error:
            # The error is shown above the details of the model that was selected before.
            return refusal(error, language), *[gr.update()] * 8
        notes = [] if result.revision else [here["models_figures_only"]]
        if not result.metrics.curves:
            notes.append(here["models_no_curves"])
        drawn = gr.update(
            value=_curves(result.metrics, here),
            x_title=here["models_epoch"],
            y_title=here["models_share"],
        )
        return (
            " ".join(notes),
            gr.update(visible=bool(result.metrics.curves)),
            drawn,
            _learned(result.metrics, language),
            *reliability(result.metrics, language),
            _confusion(result, language),
            _classes(result, language),
            card(result.config, result.metrics, pictures=False),
        )

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    private |= {"concurrency_limit": None}
    page.load(board, None, [leaderboard, picked], **private)
    gr.on(
        [page.load, picked.change],
        show,
        picked,
        [note, learned, curves, told, diagram, calibration, confusion, classes, text],
        **private,
    )


def _all(context: PageContext) -> list[ModelInfo]:
    """List all models, highest test accuracy first."""
    return sorted(
        [*context.predictor.models(), *context.unbundled],
        key=lambda result: -result.metrics.test.accuracy,
    )


def _leaderboard(results: Sequence[ModelInfo], language: locale.Language) -> str:
    here = locale.page_texts(language)

    def number(value: float, places: int = 4) -> str:
        return locale.decimal(value, places, language)

    def share(estimate: ProportionEstimate | None) -> str:
        return number(estimate.share, 3) if estimate is not None else _NONE

    rows = []
    for result in results:
        figures, photos = result.metrics, result.metrics.photos
        rows.append(
            [
                result.config.title,
                number(figures.test.accuracy),
                number(figures.reported.accuracy) if figures.reported else _NONE,
                number(figures.test.ece),
                share(photos.accuracy) if photos else _NONE,
                share(photos.told_none) if photos else _NONE,
                number(figures.parameters, 0),
                number(figures.bytes / 1e6, 1),
                number(figures.milliseconds, 1),
            ]
        )
    columns = ("accuracy", "report", "ece", "photos", "told_none", "parameters", "size", "time")
    head = [here["models_name"], *(here[f"models_{column}"] for column in columns)]
    return table(head, rows, here["tab_models"])


def _curves(metrics: Metrics, words: dict[str, str]) -> pandas.DataFrame:
    rows = [
        row
        for each in metrics.curves
        for row in (
            (words["models_train"], each.epoch, each.accuracy),
            (words["models_validation"], each.epoch, each.validation_accuracy),
        )
    ]
    return pandas.DataFrame(rows, columns=["of", "epoch", "share"])


def _learned(metrics: Metrics, language: locale.Language) -> str:
    """Describe the training curves in a sentence, as a text alternative."""
    if not metrics.curves:
        return ""
    best = max(metrics.curves, key=lambda each: each.epoch == metrics.best_epoch)
    return locale.page_texts(language)["models_learned"].format(
        epochs=len(metrics.curves),
        best=best.epoch,
        train=f"{locale.decimal(100 * best.accuracy, 1, language)}%",
        validation=f"{locale.decimal(100 * best.validation_accuracy, 1, language)}%",
    )


def _confusion(result: ModelInfo, language: locale.Language) -> str:
    """Render the confusion matrix as an HTML table, shaded by the share of the row."""
    here, labels = locale.page_texts(language), result.config.labels
    if len(labels) > _MAX_CLASSES:
        return f"<p>{html.escape(here['models_many'].format(most=_MAX_CLASSES))}</p>"
    names = [html.escape(locale.label_name(label, language)) for label in labels]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    rows = []
    for name, counts in zip(names, result.metrics.test.confusion, strict=True):
        total = max(sum(counts), 1)
        shares = [(n, n / total) for n in counts]
        cells = "".join(
            f'<td style="--share:{share:.3f}"{" class=most" if share > 0.5 else ""}>{n}</td>'
            for n, share in shares
        )
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    caption = here["models_confusion"]
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="confusion"><caption>{caption}</caption>'
        f"<thead><tr><th scope=col>{here['models_truth']}</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _classes(result: ModelInfo, language: locale.Language) -> str:
    here = locale.page_texts(language)
    rows = [
        [
            locale.label_name(each.label, language),
            *(locale.decimal(v, 3, language) for v in (each.precision, each.recall, each.f1)),
            locale.decimal(each.support, 0, language),
        ]
        for each in result.metrics.test.classes
    ]
    columns = ("precision", "recall", "f1", "rows")
    head = [here["batch_class"], *(here[f"models_{column}"] for column in columns)]
    return table(head, rows, here["models_classes"])
