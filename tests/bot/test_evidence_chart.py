"""Charts of the evidence about a rollout."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bot.evidence_chart import evidence_chart
from bot.evidence_text import difference_lines
from core.rollout.evidence import CanaryEvidence, ShadowEvidence, TestEvidence
from core.store.rollouts import Rollout

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
CANARY = Rollout(1, "classic", "canary", "2" * 12, "1" * 12, 0.1, 9.0, NOW)
SHADOW = Rollout(2, "classic", "shadow", "2" * 12, "1" * 12, 1.0, 9.0, NOW)


def test_nothing_is_drawn_before_there_is_evidence() -> None:
    none = CanaryEvidence((TestEvidence("errors", 0, 0, 0, 0, 1.0, 100.0),), {})
    assert evidence_chart(CANARY, none, "en") is None
    assert evidence_chart(SHADOW, ShadowEvidence(0, 0, {}, [], {}, 0, {}, {}), "en") is None


@pytest.mark.parametrize(
    ("evidence", "length"), [(0.2, 0.0), (1.0, 0.0), (10.0, 0.5), (100.0, 1.0), (1e9, 1.0)]
)
def test_evidence_of_a_canary_fills_its_bar_up_to_the_alarm(evidence: float, length: float) -> None:
    test = TestEvidence("errors", 4, 1, 90, 3, evidence, 100.0)
    chart = evidence_chart(CANARY, CanaryEvidence((test,), {}), "en")
    assert chart is not None
    assert chart.title == "classic: 222222222222"
    failures, strength = chart.panels
    candidate, live = failures.rows[0].bars
    assert candidate is not None
    assert live is not None
    assert candidate.value == pytest.approx(1 / 4)
    assert live.value == pytest.approx(3 / 90)
    assert candidate.is_muted, "four photos say little"
    assert not live.is_muted
    bar, none = strength.rows[0].bars
    assert bar is not None
    assert bar.value == pytest.approx(length)
    assert none is None


def test_chart_of_a_shadow_has_milliseconds_and_differences() -> None:
    differences = {"confidence": (0.004, -0.0312, 0.1), "known_score": (-0.004, -1.5, 0.25)}
    milliseconds = {"live": (2.0, 3.0), "candidate": (4.0, 9.0)}
    found = ShadowEvidence(3, 0, {}, [], milliseconds, 0, {}, {}, differences)
    chart = evidence_chart(SHADOW, found, "en")
    assert chart is not None
    assert chart.notes == tuple(difference_lines(found, "en"))
    assert len(chart.notes) == 2
    (panel,) = chart.panels
    shown = [[bar.value if bar else None for bar in row.bars] for row in panel.rows]
    assert shown == [[4.0, 2.0], [9.0, 3.0]], "the candidate first"
