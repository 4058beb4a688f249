"""A prediction as HTML: verdict, bars, latency and JSON."""

from __future__ import annotations

import html
import json

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.inference.prediction import Prediction
from demo.components import bars

__all__ = [
    "MAX_BARS",
    "WAITING_BARS",
    "WAITING_SCORES",
    "bars_html",
    "json_html",
    "scores_html",
    "verdict_html",
]

MAX_BARS = 20
"""Maximum number of classes with a bar."""

WAITING_BARS = '<ol class="bars waiting" aria-hidden="true"><li></li><li></li><li></li></ol>'
"""Placeholder for the bars until there is a prediction."""
WAITING_SCORES = f'{WAITING_BARS}<p id="timing">&nbsp;</p>'
"""The same for bars with the latency below them."""


def verdict_html(prediction: Prediction, language: locale.Language) -> str:
    """Render the verdict as a heading."""
    says = html.escape(locale.format_verdict(prediction, language))
    return f'<h2 class="{prediction.verdict}">{says}</h2>'


def bars_html(prediction: Prediction, language: locale.Language) -> str:
    """Render the bars of the most probable classes."""
    return bars(prediction.scores, MAX_BARS, language, locale.page_texts(language)["scores"])


def scores_html(prediction: Prediction, result: ModelInfo, language: locale.Language) -> str:
    """Render the bars of the most probable classes, and the latency below them.

    All classes are rendered, up to `MAX_BARS`; the browser shows as many as the visitor chose.

    Args:
        prediction: The prediction.
        result: The model that gave it.
        language: Language of names and numbers.
    """
    texts, timing = locale.page_texts(language), prediction.timing_ms
    text = texts["time"].format(
        title=html.escape(result.config.title),
        decode=locale.decimal(timing.decode, 1, language),
        infer=locale.decimal(timing.infer, 1, language),
    )
    shown = bars_html(prediction, language)
    return (
        f'<div data-model="{html.escape(prediction.model)}">{shown}<p id="timing">{text}</p></div>'
    )


def json_html(prediction: Prediction, language: locale.Language) -> str:
    """Render the fields of a prediction as JSON text."""
    name = html.escape(locale.page_texts(language)["details"])
    # The server's path of the upload is of no use to the visitor.
    fields = json.dumps(prediction.to_dict() | {"photo": None}, indent=1, ensure_ascii=False)
    return (
        f'<h3>{name}</h3><pre tabindex="0" role="region" aria-label="{name}">'
        f"{html.escape(fields)}</pre>"
    )
