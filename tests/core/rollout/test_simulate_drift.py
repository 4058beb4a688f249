from __future__ import annotations

import pytest

from core.rollout import drift_result
from core.rollout.simulate_drift import DriftScenario, false_alarm_rate

DAYS = 300


@pytest.mark.parametrize("photos", [60, 1000])
def test_photos_without_drift_rarely_alarm(photos: int) -> None:
    assert false_alarm_rate(DriftScenario(photos), DAYS) <= 0.005


def test_all_looks_of_a_day_count(monkeypatch: pytest.MonkeyPatch) -> None:
    # A level at which one look a day, without the others, would alarm on less than 0.5% of days.
    monkeypatch.setattr(drift_result, "ALARM_P", 0.0002)
    assert false_alarm_rate(DriftScenario(100), DAYS) > 0.008


def test_alarm_is_followed_by_a_day_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_result, "ALARM_P", 1.1)
    monkeypatch.setattr(drift_result, "MIN_CHANGE", 0.0)
    assert false_alarm_rate(DriftScenario(1000), 5) == 1.0
