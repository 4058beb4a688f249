"""What is known of a taught classifier, as HTML."""

from __future__ import annotations

import html

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TeachingError
from core.teaching.limits import MAX_CLASSES, MAX_NAME, MAX_PHOTOS, MAX_PHOTOS_IN_ALL, MIN_PHOTOS
from core.teaching.report import DoubtfulPhoto, TeachingReport
from demo.components import count_bars
from demo.tabs.model_details import confusion_matrix
from demo.teaching import MAX_MODELS

__all__ = ["format_teaching_error", "model_html", "report_html"]

_MAX_DOUBTFUL = 12
_MAX_NAMES = 5


def format_teaching_error(error: TeachingError, language: locale.Language) -> str:
    """Format the reason why nothing was taught, and what to do about it."""
    # The reason `two_classes` names the classes, and the photo after them.
    given = error.names[:2] if error.reason == "two_classes" else error.names
    names = [f"“{name}”" for name in given[:_MAX_NAMES]]
    if len(given) > _MAX_NAMES:
        names.append("…")
    return locale.page_texts(language)[f"teach_error_{error.reason}"].format(
        names=", ".join(names),
        photo=error.names[-1].partition(". ")[2] if error.names else "",
        least=MIN_PHOTOS,
        most=MAX_PHOTOS,
        classes=MAX_CLASSES,
        all=MAX_PHOTOS_IN_ALL,
        length=MAX_NAME,
        models=MAX_MODELS,
    )


def model_html(result: ModelInfo, language: locale.Language) -> str:
    """Render accuracy, classes and confusion of a taught classifier.

    Args:
        result: The classifier.
        language: Language of the texts.
    """
    here, taught = locale.page_texts(language), result.metrics.taught
    if taught is None:
        return ""
    accuracy = taught.accuracy
    told = here["teach_accuracy"].format(
        right=round(accuracy.share * accuracy.n),
        n=accuracy.n,
        low=f"{accuracy.low:.0%}",
        high=f"{accuracy.high:.0%}",
    )
    rows = [(each.label, f"{each.recall:.0%}", each.recall) for each in result.metrics.test.classes]
    parts = [
        f"<h2>{html.escape(here['teach_share'].format(share=f'{accuracy.share:.0%}'))}</h2>",
        f"<p>{html.escape(told)}</p>",
        f"<h3>{html.escape(here['teach_recall'])}</h3>",
        count_bars(rows, here["teach_recall"]),
        confusion_matrix(result, language),
    ]
    if taught.weak:
        weak = here["teach_weak"].format(names=", ".join(taught.weak))
        parts.append(f'<p class="weak">{html.escape(weak)}</p>')
    return "".join(parts)


def report_html(report: TeachingReport, language: locale.Language) -> str:
    """Render which photos of a classifier may be mislabelled, and which were not used.

    The browser puts the photos in, by their number in `data-photo`, since the page keeps none.

    Args:
        report: The report, whose photos are named by `PhotosToTeach.labelled`.
        language: Language of the texts.
    """
    here, parts = locale.page_texts(language), []
    if report.doubtful:
        cards = "".join(_doubtful(each, here) for each in report.doubtful[:_MAX_DOUBTFUL])
        title = html.escape(here["teach_doubtful"])
        parts.append(f'<h3>{title}</h3><ul class="gallery" aria-label="{title}">{cards}</ul>')
    if report.skipped:
        names = ", ".join(each.name.partition(". ")[2] for each in report.skipped)
        told = here["teach_skipped"].format(names=names)
        parts.append(f'<p class="skipped">{html.escape(told)}</p>')
    if report.duplicates:
        parts.append(f"<p>{here['teach_duplicates'].format(n=report.duplicates)}</p>")
    return "".join(parts)


def _doubtful(photo: DoubtfulPhoto, here: dict[str, str]) -> str:
    number, _, name = photo.name.partition(". ")
    told = here["teach_looks_like"].format(
        label=photo.label, other=photo.looks_like, share=locale.percent(photo.confidence)
    )
    return (
        f'<li data-photo="{html.escape(number)}"><span class="says">{html.escape(told)}</span>'
        f'<span class="file">{html.escape(name)}</span></li>'
    )
