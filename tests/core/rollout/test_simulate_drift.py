from __future__ import annotations

import pytest

from core.rollout import drift_result, simulate_drift
from core.rollout.drift_report import drift_reports
from core.rollout.drift_result import DriftReport
from core.rollout.drift_samples import DriftSample
from core.rollout.simulate_drift import DriftScenario, false_alarm_rate, hours_until_alarm

DAYS = 300


@pytest.mark.parametrize("photos", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_photos_without_drift_rarely_alarm(photos: int) -> None:
    assert false_alarm_rate(DriftScenario(photos), DAYS) <= 0.005


def test_false_alarm_rate_counts_every_check_of_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    # A level at which one look a day, without the others, would alarm on less than 0.5% of days.
    monkeypatch.setattr(drift_result, "ALARM_P", 0.0002)
    assert false_alarm_rate(DriftScenario(100), DAYS) > 0.008


def test_alarm_is_followed_by_a_day_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_result, "ALARM_P", 1.1)
    monkeypatch.setattr(drift_result, "MIN_CHANGE", 0.0)
    assert false_alarm_rate(DriftScenario(1000), 5) == 1.0


def reports(monkeypatch: pytest.MonkeyPatch, scenario: DriftScenario) -> list[DriftReport]:
    """Return the reports of the looks until an alarm."""
    seen: list[DriftReport] = []

    def report(samples: list[DriftSample]) -> list[DriftReport]:
        seen.extend(found := drift_reports(samples))
        return found

    monkeypatch.setattr(simulate_drift, "drift_reports", report)
    hours_until_alarm(scenario, 1)
    return seen


def test_drift_is_found_within_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    *before, found = reports(monkeypatch, DriftScenario(1000, moved=0.5))
    assert found.alarms == ["labels"], "scores and confidences do not move by themselves"
    assert not any(each.alarms for each in before)
    assert 1 < len(before) < 24


def test_scores_and_confidences_can_move_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_result, "ALARM_P", 0.0)
    scenario = DriftScenario(1000, moved=0.4, moves_scores=True)
    found = reports(monkeypatch, scenario)[23]
    for name in ("known_scores", "confidences"):
        assert found.month[name].change > 0.1
        assert not found.month[name].is_higher
        assert len(found.month[name].groups) <= 10, "neighbours are grouped, as in production"


def test_wait_without_an_alarm_is_marked() -> None:
    assert hours_until_alarm(DriftScenario(100), 1).tolist() == [-1]
