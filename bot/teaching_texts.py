"""Replies about teaching, as pure functions of results and texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import TeachingError
from core.locale import Language
from core.teaching.limits import (
    MAX_CLASSES,
    MAX_NAME_LENGTH,
    MAX_PHOTOS,
    MAX_TOTAL_PHOTOS,
    MIN_CLASSES,
    MIN_PHOTOS,
)
from core.teaching.report import TeachingReport

__all__ = ["list_line", "listed", "quoted", "refusal", "report_text"]

_MAX_LINES = 5
# Fifty names of 64 characters would not fit into one message with the rest.
_MAX_NAMES = 12
_TOO_MANY = ("many_classes", "many_photos", "many_in_all")
_LIMITS = {
    "min_classes": MIN_CLASSES,
    "max_classes": MAX_CLASSES,
    "min_photos": MIN_PHOTOS,
    "max_photos": MAX_PHOTOS,
    "max_in_all": MAX_TOTAL_PHOTOS,
    "max_name": MAX_NAME_LENGTH,
}


def quoted(names: Iterable[str]) -> str:
    """Format names as a list in quotation marks."""
    return ", ".join(f"“{name}”" for name in names)


def listed(names: Sequence[str], texts: Mapping[str, str]) -> str:
    """Format the first names of a list, and the number of the others."""
    shown = quoted(names[:_MAX_NAMES])
    if len(names) <= _MAX_NAMES:
        return shown
    return f"{shown} {texts['others'].format(n=len(names) - _MAX_NAMES)}"


def refusal(
    error: TeachingError,
    language: Language,
    *,
    failed: str = "teach_error_failed",
    if_too_many: str | None = None,
) -> str:
    """Format why a classifier cannot be taught, and what to do about it.

    Args:
        error: The error.
        language: Language of the text.
        failed: Key of the text for a failure that may not happen again.
        if_too_many: Key of the text that says what to do about too many photos or classes.
    """
    texts = locale.bot_texts(language)
    text = texts[failed if error.reason == "failed" else f"teach_error_{error.reason}"]
    told = text.format(names=listed(error.names, texts), **_LIMITS)
    return f"{told} {texts[if_too_many]}" if if_too_many and error.reason in _TOO_MANY else told


def report_text(
    title: str, report: TeachingReport, own_names: Collection[str], language: Language
) -> str:
    """Format the accuracy of a taught model, and how to improve it.

    Args:
        title: Name of the model.
        report: The report.
        own_names: Names of the photos of this lesson; others are of earlier ones.
        language: Language of the text.
    """
    texts = locale.bot_texts(language)
    accuracy = report.accuracy
    blocks = [
        texts["teach_result"].format(
            title=title,
            classes=listed(report.classes, texts),
            n=accuracy.n,
            percent=f"{accuracy.share:.0%}",
            low=f"{accuracy.low:.0%}",
            high=f"{accuracy.high:.0%}",
        )
    ]
    if confused := _confusion_lines(report, texts):
        blocks.append("\n".join([texts["teach_confusion"], *confused]))
    if report.doubtful:
        lines = [
            texts["teach_doubtful_photo"].format(
                photo=each.name if each.name in own_names else texts["teach_earlier"],
                label=each.label,
                other=each.looks_like,
            )
            for each in report.doubtful[:_MAX_LINES]
        ]
        hint = texts["teach_doubtful_hint"]
        blocks.append("\n".join([texts["teach_doubtful"], *lines, hint]))
    if report.weak:
        blocks.append(texts["teach_weak"].format(classes=listed(report.weak, texts)))
    if report.skipped:
        names = [each.name for each in report.skipped]
        blocks.append(texts["teach_skipped"].format(photos=listed(names, texts)))
    if report.duplicates:
        blocks.append(texts["teach_duplicates"].format(n=report.duplicates))
    return "\n\n".join([*blocks, texts["teach_use_hint"]])


def _confusion_lines(report: TeachingReport, texts: Mapping[str, str]) -> list[str]:
    """Format the most frequent confusions, the most frequent first."""
    pairs = [
        (n, report.classes[i], report.classes[j])
        for i, row in enumerate(report.confusion)
        for j, n in enumerate(row)
        if i != j and n
    ]
    pairs.sort(key=lambda pair: -pair[0])
    line = texts["teach_confused"]
    return [line.format(n=n, label=label, other=other) for n, label, other in pairs[:_MAX_LINES]]


def list_line(model: ModelInfo, *, is_own: bool, language: Language) -> str:
    """Format a taught model for the list of a chat's models.

    Args:
        model: The model.
        is_own: Whether the chat taught it, or another chat shares it.
        language: Language of the text.
    """
    taught = model.metrics.taught
    texts = locale.bot_texts(language)
    return texts["teach_list_own" if is_own else "teach_list_shared"].format(
        title=model.config.title,
        classes=listed(model.config.labels, texts),
        n=0 if taught is None else sum(taught.photos),
        percent="?" if taught is None else f"{taught.accuracy.share:.0%}",
    )
