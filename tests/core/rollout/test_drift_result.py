from __future__ import annotations

import json

import pytest

from core.rollout.drift_result import ALARM_P, MIN_CHANGE, BinGroup, Difference, DriftReport

GROUPS = (
    BinGroup(("low",), 0.2, 0.5),
    BinGroup(("middle",), 0.3, 0.3),
    BinGroup(("high",), 0.5, 0.2),
)


def difference(change: float, p: float, groups: tuple[BinGroup, ...] = ()) -> Difference:
    return Difference(100, 1000, change, p, "low", groups)


@pytest.mark.parametrize(
    ("change", "p", "is_alarm"),
    [
        (MIN_CHANGE, ALARM_P / 2, True),
        (MIN_CHANGE / 2, ALARM_P / 2, False),
        (MIN_CHANGE, ALARM_P, False),
    ],
)
def test_alarm_is_beyond_chance_and_large(change: float, p: float, is_alarm: bool) -> None:
    assert difference(change, p).is_alarm is is_alarm


def test_groups_are_ranked_by_change_and_give_a_direction() -> None:
    found = difference(0.3, 0.5, GROUPS)
    assert [group.bins for group in found.most_changed] == [("low",), ("high",), ("middle",)]
    assert found.is_higher
    assert not difference(0.3, 0.5, GROUPS[::-1]).is_higher


def test_report_names_the_statistics_that_alarm() -> None:
    month = {"labels": difference(0.3, 0.0, GROUPS), "confidences": difference(0.3, 0.5)}
    # Differences from validation raise no alarm.
    report = DriftReport("classic", "0" * 12, month, {"labels": difference(0.9, 0.0)})
    assert report.alarms == ["labels"]
    assert json.loads(json.dumps(report.to_dict()))["alarms"] == ["labels"]
