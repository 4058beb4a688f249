"""Hourly statistics of answers."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.settings import Settings
from core.store.activity import Activity
from core.store.drift import AnswerHistograms
from core.store.store import Store
from core.store.tables import BOT_HOURS, DRIFT


def test_hourly_statistics_are_purged_without_new_ones(each: Settings) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)
    with closing(Store.open(each)) as store:
        store.drift.add({("a", "1"): AnswerHistograms(Counter(cat=2))})
        store.activity.add(Activity(errors=1))
        with store.database.write() as connection:
            for table in (DRIFT, BOT_HOURS):
                connection.execute(sa.update(table).values(hour=long_ago))
        store.purge_before(datetime.now(UTC) - timedelta(days=7))
        assert store.drift.between(long_ago - timedelta(days=1), datetime.now(UTC)) == {}
        assert store.activity.since(long_ago - timedelta(days=1)) == {}


def test_hourly_statistics_of_processes_add_up(each: Settings) -> None:
    new = AnswerHistograms(Counter(cat=2), Counter({"0.5": 2}), Counter({"0.9": 2}))
    now = datetime.now(UTC)
    with closing(Store.open(each)) as store, closing(Store.open(each)) as other:
        store.drift.add({("a", "1"): new})
        store.drift.add({("a", "1"): new})
        other.drift.add({("a", "1"): new, ("b", "1"): new})
        found = store.drift.between(now - timedelta(hours=2), now + timedelta(hours=2))
        assert found["a", "1"].labels == {"cat": 6}
        assert found["b", "1"].known_scores == {"0.5": 2}
        with store.database.write() as connection:
            connection.execute(sa.update(DRIFT).values(hour=now - timedelta(days=40)))
        store.drift.add({})
        assert store.drift.between(now - timedelta(days=50), now) == {}
