"""Hourly counts of what the bot did."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.activity import Activity
from core.store.feedback import StoredAnswer
from core.store.store import Store
from core.store.tables import BOT_HOURS


def activity(seconds: float, n: int = 1, errors: int = 0) -> Activity:
    made = Activity(errors=errors)
    for _ in range(n):
        made.record_answer(seconds, "known")
    return made


def test_counts_of_all_processes_are_added_by_hour(each: Settings) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    with closing(Store.open(each)) as one, closing(Store.open(each)) as other:
        one.activity.add(activity(1.0, 3))
        one.activity.add(activity(1.0, 2, errors=1))
        other.activity.add(activity(9.0))
        hours = other.activity.since(start)
        total = Activity()
        for counts in hours.values():
            total.add(counts)
        assert (total.photos, total.errors) == (6, 1)
        assert all(hour.tzinfo is not None for hour in hours)
        assert total.quantile(0.5) == pytest.approx(1.0, rel=0.06)
        assert total.quantile(0.95) == pytest.approx(9.0, rel=0.06)


def test_counts_are_kept_for_five_weeks(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        store.activity.add(activity(1.0))
        past = datetime.now(UTC) - timedelta(days=36)
        with store.database.write() as connection:
            connection.execute(sa.update(BOT_HOURS).values(hour=past))
        store.activity.add(activity(1.0))
        (hour,) = store.activity.since(past - timedelta(days=1))
        assert hour > past


def test_quantiles_are_accurate_to_five_percent() -> None:
    made = Activity()
    for n in range(1, 1001):
        made.record_answer(n / 100, "known")
    for share in (0.01, 0.5, 0.95, 1.0):
        assert made.quantile(share) == pytest.approx(10 * share, rel=0.06)
    assert Activity().quantile(0.5) == 0.0
    assert activity(0.0).quantile(0.5) < 0.002


def test_people_are_counted_once(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        for key, person in (("1", "a"), ("2", "a"), ("3", "b"), ("4", None)):
            said = StoredAnswer(person, "file", "m", "r", "cat", "known", {"cat": 1.0})
            store.feedback.add_answer(key, said)
        assert store.activity.people(datetime.now(UTC) - timedelta(minutes=1)) == 2
        assert store.activity.people(datetime.now(UTC) + timedelta(minutes=1)) == 0
