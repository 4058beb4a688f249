from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, cast

import pytest
import sqlalchemy as sa

from core.bundle.leaderboard import ModelInfo
from core.inference.prediction import Prediction, Timing
from core.rollout.evidence import canary_evidence
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.rollouts import Rollout
from core.store.store import Store
from core.store.tables import FEEDBACK
from demo.context import ClientRateLimiter, PageContext
from demo.tabs.feedback import ShownPrediction, save

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
CLIENT, OTHER = "visitor:203.0.113.7", "visitor:203.0.113.8"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(Settings(home=tmp_path / "home"))) as store:
        yield store


def judge(store: Store, client: str, revision: str, label: str) -> None:
    """Say of a prediction that the photo shows a cat."""
    scores = {label: 0.9, "ship": 0.1}
    timing = Timing(1.0, 1.0)
    prediction = Prediction(None, "a", revision, label, 0.9, "known", 0.8, scores, timing)
    shown = ShownPrediction("photo.jpg", prediction, cast("ModelInfo", None))
    limiter = ClientRateLimiter(99)
    predictor = cast("Predictor", None)  # no photo is kept
    context = PageContext(predictor, store, limiter, limiter, asyncio.Semaphore(), (), None, b"key")
    asyncio.run(save(context, store, shown, "cat", client=client, keep_photo=False))


def begin(store: Store, kind: Literal["shadow", "canary"] = "canary") -> Rollout:
    return store.rollouts.begin("a", kind, candidate="new", live="old", share=0.5, slow_ms=9.0)


def people(store: Store) -> list[str | None]:
    with store.database.read() as connection:
        select = sa.select(FEEDBACK.c.person).order_by(FEEDBACK.c.id)
        return list(connection.execute(select).scalars())


def test_visitor_hash_differs_between_canaries(store: Store) -> None:
    judge(store, CLIENT, "old", "cat")
    begin(store, "shadow")
    judge(store, CLIENT, "old", "cat")
    store.rollouts.end(1, "stopped", BY_HAND)
    assert people(store) == [None, None]
    hashes = set()
    for number in (2, 3):
        begin(store)
        for client in (CLIENT, CLIENT, OTHER):
            judge(store, client, "old", "cat")
        first, again, other = people(store)[-3:]
        assert first == again != other
        hashes |= {first, other}
        store.rollouts.end(number, "stopped", BY_HAND)
    assert len(hashes) == 4
    assert "203.0.113" not in "".join(map(str, hashes))


def test_visitor_hash_becomes_a_number_after_the_canary(store: Store) -> None:
    rollout = begin(store)
    for i in range(40):
        judge(store, CLIENT, "new", "dog")
        judge(store, f"visitor:198.51.100.{i}", "old", "cat")
    before = canary_evidence(store.rollout_evidence, rollout, ("cat", "dog"))
    store.purge_rollouts_before(LONG_AGO)
    assert len(max(map(str, people(store)), key=len)) == 64, "the canary needs the hashes"
    store.rollouts.end(rollout.number, "stopped", BY_HAND)
    numbers = people(store)
    assert {str(each).split()[0] for each in numbers} == {"visitor"}
    assert canary_evidence(store.rollout_evidence, rollout, ("cat", "dog")) == before
    # What is judged while the rollout ends, and what an earlier version left.
    late = Feedback("page", "a", "old", "cat", "known", {"cat": 1.0}, "cat", "f" * 64)
    store.feedback.add(late)
    mine = replace(late, front="bot", person="e" * 64)
    store.feedback.add(mine)
    store.purge_rollouts_before(LONG_AGO)
    assert people(store) == [*numbers, "visitor 81", mine.person]


def test_one_visitor_cannot_cause_a_rollback(store: Store) -> None:
    rollout = begin(store)
    for i in range(40):
        judge(store, CLIENT, "new", "dog")
        judge(store, f"visitor:198.51.100.{i}", "old", "cat")
    evidence = canary_evidence(store.rollout_evidence, rollout, ("cat", "dog", "ship"))
    assert evidence.alarm is None
    assert evidence.classes["cat"]["candidate_wrong"] == 2
    for i in range(40):
        judge(store, f"visitor:198.51.100.{i}", "new", "dog")
    assert (
        canary_evidence(store.rollout_evidence, rollout, ("cat", "dog", "ship")).alarm is not None
    )
