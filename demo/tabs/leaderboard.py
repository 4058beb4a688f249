"""All models side by side: a table of their results, and a chart of accuracy and latency."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import ProportionEstimate
from demo.charts import Axis, Dot, scatter_chart
from demo.components import table
from demo.model_choice import sort_key

__all__ = ["leaderboard", "models_chart"]

# Placeholder for a missing value.
_NONE = "–"


def leaderboard(results: Sequence[ModelInfo], language: locale.Language) -> str:
    """Render the results of models as an HTML table, highest accuracy on photos first."""
    texts = locale.page_texts(language)
    rows = [_row(result, language) for result in sorted(results, key=sort_key)]
    # A phone shows two columns beside the name; the others are reached by scrolling.
    columns = (
        *("photos_valid", "time", "accuracy", "report", "photos_test", "told_none"),
        *("ece", "family", "size", "parameters"),
    )
    head = [texts["models_name"], *(texts[f"models_{column}"] for column in columns)]
    return table(head, rows, texts["tab_models"])


def _row(result: ModelInfo, language: locale.Language) -> list[str]:
    texts, figures = locale.page_texts(language), result.metrics

    def share(value: float | None) -> str:
        return _NONE if value is None else f"{locale.decimal(100 * value, 1, language)}%"

    def estimate(found: ProportionEstimate | None) -> str:
        if found is None:
            return _NONE
        n = locale.decimal(found.n, 0, language)
        of = texts["models_share_of"].format(share=share(found.share), n=n)
        low = locale.decimal(100 * found.low, 1, language)
        interval = texts["models_interval"].format(low=low, high=share(found.high))
        # On a line of its own, so that a phone still shows two columns.
        return f"{of}\n{interval}"

    rejected = _rejected(result)
    return [
        result.config.title,
        estimate(figures.valid_photo_accuracy),
        locale.decimal(figures.milliseconds, 1, language),
        estimate(figures.test_accuracy),
        share(figures.reported.accuracy if figures.reported else None),
        estimate(figures.test_photo_accuracy),
        share(rejected.share if rejected else None),
        share(figures.test.ece),
        texts[f"family_{result.config.family}"],
        locale.decimal(figures.bytes / 1e6, 1, language),
        locale.decimal(figures.parameters, 0, language),
    ]


def _rejected(result: ModelInfo) -> ProportionEstimate | None:
    """Return the share of photos of no known class that the model rejects."""
    metrics = result.metrics
    if metrics.real_photos is not None:
        return metrics.real_photos.rejected
    return None if metrics.photos is None else metrics.photos.told_none


def models_chart(results: Sequence[ModelInfo], language: locale.Language) -> str:
    """Draw accuracy against latency, a dot for each model.

    The vertical axis is accuracy on photos if all models were measured on the same set, otherwise
    on the test set.

    Args:
        results: The models, at least one.
        language: Language of titles and numbers.
    """
    texts = locale.page_texts(language)
    measured = [each.metrics.photo_accuracy for each in results]
    shares = [found[0].share for found in measured if found is not None]
    photos = {found and found[1] for found in measured}
    on_photos = len(photos) == 1 and None not in photos
    if not on_photos:
        shares = [each.metrics.test.accuracy for each in results]
    times = [each.metrics.milliseconds for each in results]
    dots = [
        Dot(each.config.title, time, share)
        for each, time, share in zip(results, times, shares, strict=True)
    ]
    low = math.floor(20 * min(shares)) / 20
    high = max(math.ceil(20 * max(shares)) / 20, low + 0.05)
    x = Axis(
        texts["models_time"], 0, 1.1 * max(times), lambda v: locale.decimal(v, 1, language), 0.1
    )
    y = Axis(
        texts["models_photos" if on_photos else "models_accuracy"],
        *(low, high),
        lambda v: f"{v:.0%}",
        0.01,
    )
    drawn = scatter_chart(dots, x, y, texts["compare_chart"])
    return (
        f"<h3>{html.escape(texts['compare_chart'])}</h3>{drawn}"
        f"<p>{html.escape(texts['compare_chart_text'])}</p>"
    )
