"""Senders of the photos that a shadow compares."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import StoredAnswer
from core.store.store import Store
from core.store.tables import ROLLOUTS, SHADOW_SENDERS
from tests.support.stored_rollouts import SCORES, begin, comparison


def test_comparison_is_deleted_once_its_sender_is_known_to_be_forgotten(each: Settings) -> None:
    answer = StoredAnswer("me", "file", "a", "1", "cat", "known", SCORES)
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.feedback.add_answer("k", answer)
        compared = [comparison(each) for each in ("x", "y", "z")]
        store.rollout_evidence.add_comparisons(rollout.number, compared)
        store.shadow_senders.add(None, ["x"])
        store.shadow_senders.add("me", ["y"], of_answer="deleted meanwhile")
        store.shadow_senders.add("me", ["z"], of_answer="k")
        left = store.rollout_evidence.comparisons(rollout.number)
    assert [each.answer for each in left] == ["z"]


def test_comparison_that_escaped_forget_is_purged(each: Settings) -> None:
    now = datetime.now(UTC)
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.rollout_evidence.add_comparisons(
            rollout.number, [comparison("mine"), comparison("other")]
        )
        with store.database.write() as connection:
            forgotten = {"answer": "mine", "person": None, "at": now}
            connection.execute(sa.insert(SHADOW_SENDERS).values(forgotten))
        store.purge_rollouts_before(now - timedelta(days=1))
        left = store.rollout_evidence.comparisons(rollout.number)
    assert [each.answer for each in left] == ["other"]


def test_sender_is_kept_with_a_comparison_that_was_stored_later(each: Settings) -> None:
    now = datetime.now(UTC)
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.shadow_senders.add("me", ["mine"])
        with store.database.write() as connection:
            before = sa.update(SHADOW_SENDERS).values(at=now - timedelta(days=1, seconds=5))
            connection.execute(before)
        store.rollout_evidence.add_comparisons(rollout.number, [comparison("mine")])
        store.purge_before(now - timedelta(days=1))
        store.chats.forget("me", set())
        assert store.rollout_evidence.comparisons(rollout.number) == []


def test_senders_are_kept_as_long_as_the_comparisons_of_their_photos(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.rollout_evidence.add_comparisons(rollout.number, [comparison("compared")])
        store.shadow_senders.add("me", ["compared", "not compared"])
        store.shadow_senders.add(None, ["forgotten"])
        hours_ago = sa.update(SHADOW_SENDERS).values(at=datetime.now(UTC) - timedelta(hours=2))
        with store.database.write() as connection:
            connection.execute(hours_ago)
        store.shadow_senders.add("me", ["new"])

        def kept() -> set[str]:
            with store.database.read() as connection:
                return set(connection.execute(sa.select(SHADOW_SENDERS.c.answer)).scalars())

        store.purge_before(datetime.now(UTC) - timedelta(days=1))
        assert kept() == {"compared", "new"}
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert kept() == set()


def test_only_answers_of_a_shadowed_model_are_compared(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        begin(store, "canary")
        assert not store.shadow_senders.are_compared(["canary", "other"])
        shadow = store.rollouts.begin(
            "a", "shadow", candidate="2", live="1", share=1.0, slow_ms=9.0
        )
        assert store.shadow_senders.are_compared(["other", "a"])
        store.rollouts.end(shadow.number, "stopped", BY_HAND)
        assert store.shadow_senders.are_compared(["a"]), "answers of before are still compared"
        with store.database.write() as connection:
            long_ago = datetime.now(UTC) - timedelta(hours=2)
            connection.execute(sa.update(ROLLOUTS).values(ended_at=long_ago))
        assert not store.shadow_senders.are_compared(["a"])
