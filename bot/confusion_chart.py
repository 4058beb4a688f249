"""Chart of a taught model's confusion matrix, with localised texts."""

from __future__ import annotations

from collections.abc import Sequence

from core import locale
from core.charts.chart import Chart, Matrix
from core.locale import Language
from core.teaching.report import TeachingReport

__all__ = ["confusion_caption", "confusion_chart"]

# More rows and columns are not legible on a phone.
_MAX_CLASSES = 10


def confusion_chart(title: str, report: TeachingReport, language: Language) -> Chart:
    """Build the chart of a taught model's confusion matrix.

    Of more than ten classes, those that are confused most are shown, and the others together.

    Args:
        title: Name of the model.
        report: The report on it.
        language: Language of the texts.
    """
    texts = locale.bot_texts(language)
    shown = _shown(report.confusion)
    names = [report.classes[i] for i in shown]
    counts = _reduced(report.confusion, shown)
    if len(shown) < len(report.classes):
        names.append(texts["chart_other_classes"].format(n=len(report.classes) - len(shown)))
    matrix = Matrix(title=texts["chart_taken_for"], names=tuple(names), counts=counts)
    return Chart(title=title, matrix=matrix)


def confusion_caption(chart: Chart, language: Language) -> str:
    """Format the caption of the picture, with the numbers of its columns.

    The picture has no glyphs for some scripts, and cuts long names.

    Args:
        chart: The result of `confusion_chart`.
        language: Language of the text.
    """
    shown = () if chart.matrix is None else chart.matrix.names
    names = "\n".join(f"{i} {name}" for i, name in enumerate(shown, 1))
    return f"{locale.bot_texts(language)['chart_confusion_caption']}\n\n{names}"


def _shown(confusion: Sequence[Sequence[int]]) -> list[int]:
    """Return the classes that have a row of their own, in their order."""
    n = len(confusion)
    if n <= _MAX_CLASSES:
        return list(range(n))
    mistakes = [
        sum(confusion[i]) + sum(row[i] for row in confusion) - 2 * confusion[i][i] for i in range(n)
    ]
    most = sorted(range(n), key=lambda i: (-mistakes[i], i))
    return sorted(most[: _MAX_CLASSES - 1])


def _reduced(
    confusion: Sequence[Sequence[int]], shown: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return the counts of some classes; those of all others together come last.

    Confusions among the others are left out, so that the diagonal counts what is right.
    """
    others = [i for i in range(len(confusion)) if i not in shown]
    groups = [[i] for i in shown] + ([others] if others else [])
    return tuple(
        tuple(
            sum(confusion[i][j] for i in rows for j in columns if rows != columns or i == j)
            for columns in groups
        )
        for rows in groups
    )
