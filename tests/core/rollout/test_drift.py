from __future__ import annotations

import pytest
from scipy import stats

from core.rollout.drift import compare
from core.rollout.drift_result import Difference

MONTH = {"cat": 3000, "dog": 3000, "none": 1000}


def test_unchanged_mix_raises_no_alarm() -> None:
    found = compare({"cat": 301, "dog": 299, "none": 100}, MONTH)
    assert not found.is_alarm
    assert (found.n, found.reference_n) == (700, 7000)
    assert found.change < 0.01


def test_changed_mix_raises_an_alarm_that_names_the_class() -> None:
    found = compare({"cat": 100, "dog": 100, "none": 500}, MONTH)
    assert found.is_alarm
    assert found.largest == "none"
    assert found.change == pytest.approx(500 / 700 - 1000 / 7000)


def test_small_change_of_many_photos_raises_no_alarm() -> None:
    month = {label: 1000 * n for label, n in MONTH.items()}
    found = compare({"cat": 46_000, "dog": 40_000, "none": 14_000}, month)
    assert found.p < 1e-6
    assert not found.is_alarm


def test_few_photos_are_not_compared() -> None:
    assert compare({"none": 40}, MONTH) == Difference(40, 7000, 0.0, 1.0, "")
    assert compare({}, {}) == Difference(0, 0, 0.0, 1.0, "")
    new = compare({"cat": 300, "none": 100}, {"cat": 9, "none": 40})
    assert new == Difference(400, 49, 0.0, 1.0, ""), "a month of a new revision"
    assert compare({"none": 400}, {"none": 4000}).p == 1.0


def test_neighbouring_bins_of_scores_are_grouped() -> None:
    month = {str(i): 100 for i in range(100)}
    day = {str(i): 10 for i in range(50)}
    found = compare(day, month, ordered=True)
    assert found.is_alarm
    low, high = map(float, found.largest.split(" to "))
    assert 5 <= high - low <= 25


def test_p_value_is_that_of_a_chi_squared_test() -> None:
    day, month = {"cat": 110, "dog": 90, "none": 50}, MONTH
    test = stats.chi2_contingency([[*day.values()], [*month.values()]], correction=False)
    p = stats.chi2.sf(test.statistic / 5, test.dof)
    assert compare(day, month).p == pytest.approx(p)
