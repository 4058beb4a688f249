"""Render the report on a taught classifier as HTML."""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TeachingError
from core.registry.taught import TaughtRecord
from core.teaching.limits import (
    MAX_CLASSES,
    MAX_NAME_LENGTH,
    MAX_PHOTOS,
    MAX_TOTAL_PHOTOS,
    MIN_PHOTOS,
)
from core.teaching.report import DoubtfulPhoto, TeachingReport
from demo.components import count_bars
from demo.tabs.model_details import confusion_matrix
from demo.teaching import MAX_MODELS

__all__ = [
    "format_teaching_error",
    "model_html",
    "progress_html",
    "refusal_of",
    "report_html",
    "use_html",
]

_MAX_DOUBTFUL = 12
_MAX_NAMES = 5


def format_teaching_error(error: TeachingError, language: locale.Language) -> str:
    """Format the reason why nothing was taught, and what to do about it."""
    # The reason `two_classes` names the classes, and the photo after them.
    given = error.names[:2] if error.reason == "two_classes" else error.names
    texts = locale.page_texts(language)
    names = [texts["teach_quoted"].format(name=name) for name in given[:_MAX_NAMES]]
    if len(given) > _MAX_NAMES:
        names.append("…")
    unnamed = error.reason == "bad_class" and not any(given)
    key = "teach_error_no_name" if unnamed else f"teach_error_{error.reason}"
    return texts[key].format(
        names=", ".join(names),
        photo=error.names[-1].partition(". ")[2] if error.names else "",
        least=MIN_PHOTOS,
        most=MAX_PHOTOS,
        classes=MAX_CLASSES,
        all=MAX_TOTAL_PHOTOS,
        length=MAX_NAME_LENGTH,
        models=MAX_MODELS,
    )


def refusal_of(error: TeachingError, language: locale.Language) -> str:
    """Render the reason why nothing was taught; teach.js moves it beside the field concerned."""
    names = html.escape(json.dumps(error.names))
    text = html.escape(format_teaching_error(error, language))
    return f'<p class="refusal" data-reason="{error.reason}" data-names="{names}">⚠ {text}</p>'


def progress_html(text: str, share: float | None) -> str:
    """Render a step of teaching with a progress bar.

    Args:
        text: What is being done.
        share: Completed share, 0 to 1; None if it is not known.
    """
    name = html.escape(text)
    value = "" if share is None else f' value="{share:.3f}"'
    return f'<p>{name}</p><progress class="teach-progress" aria-label="{name}"{value}></progress>'


def model_html(result: ModelInfo, language: locale.Language) -> str:
    """Render accuracy, classes and confusion of a taught classifier.

    Args:
        result: The classifier.
        language: Language of the texts.
    """
    texts, taught = locale.page_texts(language), result.metrics.taught
    if taught is None:
        return ""
    accuracy = taught.accuracy
    text = texts["teach_accuracy"].format(
        right=round(accuracy.share * accuracy.n),
        n=accuracy.n,
        low=f"{accuracy.low:.0%}",
        high=f"{accuracy.high:.0%}",
    )
    rows = [
        (
            each.label,
            f"{each.recall:.0%}"
            + (f" · {texts['teach_weak']}" if each.label in taught.weak else ""),
            each.recall,
        )
        for each in result.metrics.test.classes
    ]
    return "".join(
        (
            f"<h3>{html.escape(texts['teach_share'].format(share=f'{accuracy.share:.0%}'))}</h3>",
            f"<p>{html.escape(text)}</p>",
            f"<h3>{html.escape(texts['teach_recall'])}</h3>",
            count_bars(rows, texts["teach_recall"]),
            confusion_matrix(result, language),
        )
    )


def use_html(record: TaughtRecord, result: ModelInfo, language: locale.Language) -> str:
    """Render the expiry of a classifier, its offer or publication, and the ways to use it.

    These are a private link, and a button to teach it more.

    Args:
        record: The classifier.
        result: Its description.
        language: Language of the texts.
    """
    texts = {key: html.escape(text) for key, text in locale.page_texts(language).items()}
    link = f"?model={record.id}"
    counts = () if result.metrics.taught is None else result.metrics.taught.photos
    classes = html.escape(json.dumps(list(zip(result.config.labels, counts, strict=False))))
    until = "" if record.expires is None else _time_html(record.expires)
    public = ""
    if record.published is not None:
        text = texts["teach_published"].format(name=html.escape(record.published))
        public = f'<p class="public">✓ {text}</p>'
    if record.offered:
        public += f'<p class="public">{texts["teach_was_offered"]}</p>'
    return (
        f'<p class="small">{until}</p>{public}'
        f'<p><a href="{link}" target="_blank">{texts["teach_link"]}</a></p>'
        f'<div class="teach-buttons"><button type="button" id="teach-copy" data-link="{link}">'
        f"{texts['teach_copy']}</button>"
        f'<button type="button" id="teach-continue" data-model="{record.id}"'
        f' data-title="{html.escape(record.title)}" data-classes="{classes}">'
        f"{texts['teach_continue']}</button></div>"
        '<p id="teach-copied" class="small" role="status"></p>'
    )


def report_html(report: TeachingReport, language: locale.Language) -> str:
    """Render which photos of a classifier may be mislabelled, and which were not used.

    The browser puts the photos in, by their number in `data-photo`, since the page keeps none.

    Args:
        report: The report, whose photos are named by `PhotosToTeach.labelled`.
        language: Language of the texts.
    """
    texts, parts = locale.page_texts(language), []
    if report.doubtful:
        cards = "".join(_doubtful(each, texts) for each in report.doubtful[:_MAX_DOUBTFUL])
        title = html.escape(texts["teach_doubtful"])
        parts.append(f'<h3>{title}</h3><ul class="gallery" aria-label="{title}">{cards}</ul>')
    if report.skipped:
        names = ", ".join(each.name.partition(". ")[2] for each in report.skipped)
        text = texts["teach_skipped"].format(names=names)
        parts.append(f'<p class="skipped">{html.escape(text)}</p>')
    if report.duplicates:
        parts.append(f"<p>{texts['teach_duplicates'].format(n=report.duplicates)}</p>")
    return "".join(parts)


def _time_html(seconds: float) -> str:
    """Render a time without text, which teach.js adds in the visitor's time zone."""
    return f'<time datetime="{datetime.fromtimestamp(seconds, UTC).isoformat()}"></time>'


def _doubtful(photo: DoubtfulPhoto, texts: dict[str, str]) -> str:
    number, _, name = photo.name.partition(". ")
    text = texts["teach_looks_like"].format(
        label=photo.label, other=photo.looks_like, share=locale.percent(photo.confidence)
    )
    return (
        f'<li data-photo="{html.escape(number)}"><span class="says">{html.escape(text)}</span>'
        f'<span class="file">{html.escape(name)}</span></li>'
    )
