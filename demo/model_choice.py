"""The model selector: the models that it lists, each with accuracy and latency."""

from __future__ import annotations

from contextlib import suppress

import gradio as gr

from core import locale
from core.bundle.leaderboard import ModelInfo, selectable
from core.errors import ModelNotFoundError
from core.registry.taught import is_private
from core.serving.predictor import Predictor
from demo.context import PageContext, language_of

__all__ = ["choice", "chosen", "default_choices", "sort_key"]


def sort_key(result: ModelInfo) -> tuple[bool, bool, float, float]:
    """Sort models by accuracy on photos, highest first; those without come last, by test set.

    Models without stored weights come last: they cannot classify, and have no accuracy on all
    validation photos.
    """
    photos = result.metrics.photo_accuracy
    share = photos[0].share if photos else 0.0
    return (result.revision is None, photos is None, -share, -result.metrics.test.accuracy)


def choice(result: ModelInfo, language: locale.Language) -> tuple[str, str]:
    """Format a model as a choice of the model selector.

    Returns:
        The text, with title, family, accuracy and latency, and the value, the model's name.
    """
    texts, figures = locale.page_texts(language), result.metrics
    title, family = result.config.title, texts[f"family_{result.config.family}"]
    photos = figures.photo_accuracy
    share = figures.test.accuracy if photos is None else photos[0].share
    accuracy = f"{locale.decimal(100 * share, 0, language)}%"
    if photos is None:
        accuracy = texts["model_on_test"].format(accuracy=accuracy)
    places = 1 if figures.milliseconds < 10 else 0
    speed = f"{locale.decimal(figures.milliseconds, places, language)} ms"
    # Some titles say in English how the model was trained, such as "VGG16, transferred".
    english = locale.page_texts("en")[f"family_{result.config.family}"].partition(" ")[0]
    parts = [] if english in title.lower() else [family]
    # The family comes last, where a narrow screen cuts the text off.
    return " · ".join([title, accuracy, speed, *parts]), result.config.name


def default_choices(predictor: Predictor) -> tuple[list[tuple[str, str]], str]:
    """List the choices of the model selector in English, and the default model.

    Raises:
        ModelNotFoundError: The predictor has no model.
    """
    default = predictor.default_model()
    listed = sorted(selectable(predictor.models(), default), key=sort_key)
    return [choice(result, "en") for result in listed], default


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
    results, default = context.predictor.models(), context.predictor.default_model()
    value = request.query_params.get("model", "")
    if is_private(value):
        # It is not listed, but anyone who has its id may use it.
        with suppress(ModelNotFoundError):
            results = [*results, context.predictor.model(value)]
    if value not in [result.config.name for result in results]:
        value = default
    shown = sorted(selectable(results, default, value), key=sort_key)
    return [choice(result, language_of(request)) for result in shown], value
