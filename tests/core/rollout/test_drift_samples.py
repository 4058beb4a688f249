"""The hours that are compared to find drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.rollout.drift_samples import DriftSample, drift_samples
from core.settings import Settings
from core.store.drift import AnswerHistograms
from core.store.store import Store
from core.store.tables import DRIFT

NOW = datetime(2026, 5, 3, 10, 30, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(Settings(home=tmp_path))) as opened:
        yield opened


def add_hour(store: Store, label: str, hour: datetime) -> None:
    with store.database.write() as connection:
        row = {"model": "classic", "revision": "1" * 12, "process": label, "hour": hour}
        row |= {"labels": {label: 1}, "known_scores": {}, "confidences": {}}
        connection.execute(sa.insert(DRIFT).values(row))


def found(store: Store, now: datetime) -> DriftSample:
    (sample,) = drift_samples(store.drift, [], now)
    return sample


def test_drift_windows_are_24_hours_and_the_30_days_before(store: Store) -> None:
    hours = {
        "current": datetime(2026, 5, 3, 10, tzinfo=UTC),
        "last": datetime(2026, 5, 3, 9, tzinfo=UTC),
        "first": datetime(2026, 5, 2, 10, tzinfo=UTC),
        "before": datetime(2026, 5, 2, 9, tzinfo=UTC),
        "oldest": datetime(2026, 4, 2, 10, tzinfo=UTC),
        "too old": datetime(2026, 4, 2, 9, tzinfo=UTC),
    }
    for label, hour in hours.items():
        add_hour(store, label, hour)
    sample = found(store, NOW)
    assert set(sample.day.labels) == {"last", "first"}
    assert set(sample.month.labels) == {"before", "oldest"}


def test_samples_are_constant_within_an_hour(store: Store) -> None:
    add_hour(store, "cat", NOW.replace(minute=0) - timedelta(hours=1))
    before = found(store, NOW)
    add_hour(store, "dog", NOW.replace(minute=0))
    assert found(store, NOW + timedelta(minutes=29)) == before
    assert before.day == AnswerHistograms(Counter(cat=1))
