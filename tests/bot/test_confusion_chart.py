"""The chart of a taught model's confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

from bot.confusion_chart import confusion_caption, confusion_chart
from core.bundle.metrics import ProportionEstimate
from core.charts.chart import Chart, Matrix
from core.teaching.report import TeachingReport


def chart_of(confusion: Sequence[Sequence[int]]) -> tuple[Chart, Matrix]:
    """Return the chart of some counts, whose classes are named by letters, and its matrix."""
    names = tuple(chr(ord("A") + i) for i in range(len(confusion)))
    report = TeachingReport(
        classes=names,
        photos=tuple(sum(row) for row in confusion),
        accuracy=ProportionEstimate.of(1, 2),
        recall=(),
        confusion=tuple(tuple(row) for row in confusion),
        doubtful=(),
        weak=(),
    )
    chart = confusion_chart("Letters", report, "en")
    assert chart.matrix is not None
    return chart, chart.matrix


def test_chart_shows_all_of_a_few_classes() -> None:
    chart, matrix = chart_of([[3, 1], [0, 4]])
    assert chart.title == "Letters"
    assert matrix.names == ("A", "B")
    assert matrix.counts == ((3, 1), (0, 4))


def test_chart_of_many_classes_shows_the_most_confused() -> None:
    confusion = [[5 * (i == j) for j in range(20)] for i in range(20)]
    for i in range(10, 18, 2):
        confusion[i][i + 1] = 3
    confusion[18][19] = confusion[0][19] = 1
    _, matrix = chart_of(confusion)
    assert matrix.names == (*"KLMNOPQRT", "11 others")
    assert matrix.counts[0] == (5, 3, *[0] * 8)
    # The last column has what the others were taken for, the last row what they are.
    assert matrix.counts[-1] == (*[0] * 8, 2, 55)


def test_caption_names_the_columns() -> None:
    chart, _ = chart_of([[3, 1], [0, 4]])
    assert confusion_caption(chart, "en").endswith("\n\n1 A\n2 B")
