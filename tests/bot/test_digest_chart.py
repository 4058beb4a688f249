"""Picture of the digest."""

from __future__ import annotations

from bot.digest_chart import digest_chart
from tests.support.digests import sample_digest


def test_digest_chart_shows_all_figures() -> None:
    chart = digest_chart(sample_digest(7), "en")
    assert chart.title == "Last 7 days"
    assert [fact.value for fact in chart.facts][:2] == ["4", "2"]
    assert [fact.is_warning for fact in chart.facts if fact.name == "Errors"] == [True]
    verdicts, photos = chart.panels
    assert [row.bars[0].text for row in verdicts.rows if row.bars[0]] == [
        "2 (50%)",
        "1 (25%)",
        "1 (25%)",
    ]
    assert [row.name for row in photos.rows] == ["05-03", "05-03"]
    assert any("canary 222222222222, 10%" in note for note in chart.notes)
