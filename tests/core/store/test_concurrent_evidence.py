"""Evidence about rollouts that two processes change at once, on PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

from core.settings import Settings
from core.store.rollouts import TrafficCounts
from core.store.store import Store
from tests.support.overlap import overlap


def begin(store: Store) -> int:
    """Begin a canary and return its number."""
    begun = store.rollouts.begin("a", "canary", candidate="2", live="1", share=0.5, slow_ms=9.0)
    return begun.number


def test_counts_are_added_up_once_by_two_purges(shared: Settings) -> None:
    with closing(Store.open(shared)) as store:
        number = begin(store)
        for _ in range(3):
            store.rollouts.add_traffic(number, TrafficCounts(candidate=4, candidate_slow=1, live=4))
        moment = datetime.now(UTC) + timedelta(days=1)
        overlap(
            shared,
            lambda one: one.purge_before(moment),
            lambda other: other.purge_before(moment),
        )
        assert store.rollouts.traffic(number) == [
            TrafficCounts(candidate=12, candidate_slow=3, live=12)
        ]
