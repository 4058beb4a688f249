"""Picture of the alarm about drift."""

from __future__ import annotations

from bot.drift_chart import drift_chart
from tests.support.drift import drift_report


def test_drift_chart_shows_day_beside_month() -> None:
    chart = drift_chart(drift_report(), "en")
    labels, scores, confidences = chart.panels
    none, month = labels.rows[0].bars
    assert labels.rows[0].name == "None of these"
    assert none is not None
    assert month is not None
    assert (none.text, month.text) == ("75%", "13.3%")
    assert [row.name for row in scores.rows] == sorted(
        (row.name for row in scores.rows), key=lambda name: float(name.split()[0])
    )
    assert [row.name for row in confidences.rows] == ["47 to 53%", "87 to 93%", "93 to 100%"]
