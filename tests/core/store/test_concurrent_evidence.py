"""Evidence about rollouts that two processes change at once, on PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from core.settings import Settings
from core.store.feedback import StoredAnswer
from core.store.rollout_evidence import AnswerSummary, Comparison, TrafficCounts, answer_digest
from core.store.store import Store
from core.store.tables import SHADOW_SENDERS
from tests.support.overlap import overlap

SAID = AnswerSummary("cat", "known", 0.9, 0.8, 3.0)
ANSWER = StoredAnswer("me", "file", "a", "1", "cat", "known", {"cat": 0.9})
DIGEST = answer_digest(ANSWER.model, ANSWER.revision, ANSWER.scores)


def begin(store: Store) -> int:
    """Begin a canary and return its number."""
    begun = store.rollouts.begin("a", "canary", candidate="2", live="1", share=0.5, slow_ms=9.0)
    return begun.number


def forget(store: Store) -> None:
    store.chats.forget("me", set())


def senders(store: Store) -> list[str | None]:
    """Return the hashes of those who sent photos that are compared."""
    with store.database.read() as connection:
        return list(connection.execute(sa.select(SHADOW_SENDERS.c.person)).scalars())


def test_counts_are_added_up_once_by_two_purges(shared: Settings) -> None:
    with closing(Store.open(shared)) as store:
        number = begin(store)
        for _ in range(3):
            store.rollout_evidence.add_traffic(
                number, TrafficCounts(candidate=4, candidate_slow=1, live=4)
            )
        moment = datetime.now(UTC) + timedelta(days=1)
        overlap(
            shared,
            lambda one: one.purge_before(moment),
            lambda other: other.purge_before(moment),
        )
        assert store.rollout_evidence.traffic(number) == [
            TrafficCounts(candidate=12, candidate_slow=3, live=12)
        ]


@pytest.mark.parametrize("first", ["comparison", "forget"])
def test_comparison_that_is_stored_during_forget_is_deleted(shared: Settings, first: str) -> None:
    with closing(Store.open(shared)) as store:
        number = begin(store)
        store.shadow_senders.add("me", ["mine"])
        store.shadow_senders.add("you", ["other"])

        def compare(other: Store) -> None:
            compared = [Comparison(answer, SAID, SAID) for answer in ("mine", "other")]
            other.rollout_evidence.add_comparisons(number, compared)

        writes = (compare, forget) if first == "comparison" else (forget, compare)
        overlap(shared, *writes)
        assert [each.answer for each in store.rollout_evidence.comparisons(number)] == ["other"]


def test_sender_who_is_recorded_during_forget_is_forgotten(shared: Settings) -> None:
    with closing(Store.open(shared)) as store:
        number = begin(store)
        store.feedback.add_answer("k", ANSWER)
        overlap(
            shared,
            lambda one: one.shadow_senders.add("me", [DIGEST, "another"], of_answer="k"),
            forget,
        )
        assert senders(store) == [None, None]
        store.rollout_evidence.add_comparisons(number, [Comparison("another", SAID, SAID)])
        assert store.rollout_evidence.comparisons(number) == []
