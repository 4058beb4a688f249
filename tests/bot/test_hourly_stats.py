"""Statistics of the last hour."""

from __future__ import annotations

import pytest

from bot.hourly_stats import HourlyStats
from core.errors import ImageError, PhotoReadError, PredictorError, RateError


def test_summary_covers_the_last_hour() -> None:
    now = 0.0
    stats = HourlyStats(clock=lambda: now)
    stats.record_answer(9.0, "known")
    stats.record_error(PredictorError(""))
    now = 3600.0
    for seconds in range(1, 101):
        stats.record_answer(seconds, "known")
    assert stats.summary() == (100, 51, 95, 0)


def test_pending_counts_are_taken_once() -> None:
    stats = HourlyStats()
    stats.record_answer(1.0, "known")
    stats.record_error(PredictorError(""))
    taken = stats.take_pending()
    assert (taken.photos, taken.errors) == (1, 1)
    assert not stats.take_pending()
    stats.record_answer(2.0, "none")
    stats.put_back(taken)
    assert stats.take_pending().verdicts == {"known": 1, "none": 1}


def test_summary_without_photos_is_zero() -> None:
    assert HourlyStats().summary() == (0, 0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (PredictorError(""), True),
        (ZeroDivisionError(), True),
        (ImageError("truncated", ""), False),
        (PhotoReadError(""), False),
        (RateError(1), False),
    ],
)
def test_only_errors_of_the_system_are_counted(error: Exception, counts: bool) -> None:
    stats = HourlyStats()
    stats.record_error(error)
    assert stats.summary().errors == counts
