from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.rollout.evidence import canary_evidence, shadow_evidence
from core.settings import Settings
from core.store.feedback import Feedback
from core.store.rollout_evidence import AnswerSummary, Comparison, TrafficCounts, answer_digest
from core.store.rollouts import Rollout
from core.store.store import Store

LABELS = ("cat", "dog", "ship")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(Settings(home=tmp_path / "home"))
    yield store
    store.close()


def canary(store: Store, share: float = 0.5) -> Rollout:
    return store.rollouts.begin(
        "a", "canary", candidate="new", live="old", share=share, slow_ms=50.0
    )


def judge(
    store: Store, revision: str, truth: str, answer: str, n: int, person: str | None = "each"
) -> None:
    """Add judgements, by default each by a person of their own."""
    for i in range(n):
        judge = f"person {i}" if person == "each" else person
        store.feedback.add(
            Feedback("bot", "a", revision, answer, "known", {answer: 1.0}, truth, judge)
        )


def test_candidate_that_fails_on_one_class_is_found(store: Store) -> None:
    rollout = canary(store)
    for revision in ("new", "old"):
        judge(store, revision, "dog", "dog", 30)
    judge(store, "old", "cat", "cat", 25)
    judge(store, "new", "cat", "dog", 20)
    judge(store, "new", "cat", "cat", 5)
    evidence = canary_evidence(store.rollout_evidence, rollout, LABELS)
    assert evidence.alarm is evidence.tests[0]
    assert evidence.classes["cat"] == {
        "candidate": 25,
        "candidate_wrong": 20,
        "live": 25,
        "live_wrong": 0,
    }
    assert "20 of 55 judged photos of the candidate failed, 0 of 55" in str(
        evidence.tests[0].reason()
    )


def test_equal_candidate_raises_no_alarm(store: Store) -> None:
    rollout = canary(store)
    for revision in ("new", "old"):
        judge(store, revision, "cat", "cat", 40)
        judge(store, revision, "cat", "dog", 5)
    evidence = canary_evidence(store.rollout_evidence, rollout, LABELS)
    assert evidence.alarm is None
    assert evidence.tests[0].evidence < 1.5


def test_better_candidate_raises_no_alarm(store: Store) -> None:
    rollout = canary(store)
    judge(store, "new", "cat", "cat", 40)
    judge(store, "old", "cat", "dog", 40)
    assert canary_evidence(store.rollout_evidence, rollout, LABELS).alarm is None


@pytest.mark.parametrize("person", ["one", None], ids=["known", "anonymous"])
def test_one_person_alone_cannot_cause_an_alarm(store: Store, person: str | None) -> None:
    rollout = canary(store)
    judge(store, "old", "cat", "cat", 40)
    judge(store, "new", "cat", "dog", 40, person=person)
    evidence = canary_evidence(store.rollout_evidence, rollout, LABELS)
    assert evidence.alarm is None
    assert evidence.classes["cat"]["candidate"] == 2


def test_errors_and_slow_answers_raise_alarms(store: Store) -> None:
    rollout = canary(store)
    for _ in range(30):
        store.rollout_evidence.add_traffic(rollout.number, TrafficCounts(candidate=5, live=5))
    assert canary_evidence(store.rollout_evidence, rollout, LABELS).alarm is None
    for _ in range(10):
        counts = TrafficCounts(candidate=5, candidate_errors=3, candidate_slow=5, live=5)
        store.rollout_evidence.add_traffic(rollout.number, counts)
    errors, slow = canary_evidence(store.rollout_evidence, rollout, LABELS).tests[1:]
    assert errors.is_alarm
    assert slow.is_alarm
    assert (slow.candidate, slow.candidate_failed, slow.live_failed) == (200, 50, 0)


@pytest.mark.parametrize("better", [True, False])
def test_evidence_of_many_photos_is_positive_and_finite(store: Store, better: bool) -> None:
    rollout = canary(store)
    slow = {"live_slow" if better else "candidate_slow": 10_000}
    counts = TrafficCounts(candidate=20_000, live=20_000, **slow)
    for _ in range(3):
        store.rollout_evidence.add_traffic(rollout.number, counts)
    *_, test = canary_evidence(store.rollout_evidence, rollout, LABELS).tests
    assert 0 < test.evidence < math.inf
    assert test.is_alarm != better


def test_canary_without_photos_has_no_evidence(store: Store) -> None:
    evidence = canary_evidence(store.rollout_evidence, canary(store, 0.1), LABELS)
    assert [each.evidence for each in evidence.tests] == pytest.approx([1, 1, 1])
    assert evidence.classes == {}


def test_shadow_is_compared_by_class_and_on_judged_photos(store: Store) -> None:
    rollout = store.rollouts.begin(
        "a", "shadow", candidate="new", live="old", share=1.0, slow_ms=50.0
    )
    cat, dog, none = (
        AnswerSummary(label, verdict, 0.9, 0.8, ms)
        for label, verdict, ms in (("cat", "known", 2), ("dog", "known", 4), ("cat", "none", 6))
    )
    scores = [{"cat": 0.9 + i / 1000} for i in range(4)]
    digests = [answer_digest("a", "old", each) for each in scores]
    pairs = [(cat, cat), (cat, dog), (cat, none), (dog, dog)]
    store.rollout_evidence.add_comparisons(
        rollout.number, [Comparison(d, *pair) for d, pair in zip(digests, pairs, strict=True)]
    )
    store.rollout_evidence.add_traffic(
        rollout.number, TrafficCounts(candidate=6, candidate_errors=2)
    )
    for each, truth in zip(scores[:3], ("cat", "dog", "cat"), strict=True):
        store.feedback.add(Feedback("page", "a", "old", "cat", "known", each, truth))
    found = shadow_evidence(store.rollout_evidence, rollout)
    assert (found.photos, found.failed, found.judged) == (4, 2, 3)
    assert found.agreement["cat"].share == pytest.approx(1 / 3)
    assert found.agreement["dog"].share == 1
    assert sorted(found.changes) == [("cat", "dog", 1), ("cat", "none", 1)]
    assert found.milliseconds["live"][0] == 2
    assert {which: each.share for which, each in found.right.items()} == pytest.approx(
        {"live": 2 / 3, "candidate": 2 / 3}
    )
    assert found.changed_right == {"candidate": 1, "live": 1}
    assert found.to_dict()["agreement"]["dog"]["n"] == 1


def test_shadow_without_photos_has_no_shares(store: Store) -> None:
    rollout = store.rollouts.begin(
        "a", "shadow", candidate="new", live="old", share=1.0, slow_ms=50.0
    )
    found = shadow_evidence(store.rollout_evidence, rollout)
    assert (found.photos, found.agreement, found.right, found.milliseconds) == (0, {}, {}, {})


def test_change_from_known_to_unsure_is_no_agreement(store: Store) -> None:
    rollout = store.rollouts.begin(
        "a", "shadow", candidate="new", live="old", share=1.0, slow_ms=50.0
    )
    known, unsure = (AnswerSummary("cat", each, 0.5, 0.8, 2.0) for each in ("known", "unsure"))
    pairs = [(known, known), (known, unsure), (unsure, unsure)]
    store.rollout_evidence.add_comparisons(
        rollout.number, [Comparison(str(i), *pair) for i, pair in enumerate(pairs)]
    )
    found = shadow_evidence(store.rollout_evidence, rollout)
    assert found.agreement["cat"].share == pytest.approx(2 / 3)
    assert found.changes == [("cat", "cat (unsure)", 1)]


def test_differences_of_a_shadow_are_those_on_the_same_photo(store: Store) -> None:
    rollout = store.rollouts.begin(
        "a", "shadow", candidate="new", live="old", share=1.0, slow_ms=50.0
    )
    # The photos differ far more than the revisions do.
    pairs = [
        (
            AnswerSummary("cat", "known", 0.3 + i / 200, -i / 10, 2.0),
            AnswerSummary("cat", "known", 0.31 + i / 200, -i / 10 + (i - 50) / 100, 2.0),
        )
        for i in range(101)
    ]
    store.rollout_evidence.add_comparisons(
        rollout.number, [Comparison(str(i), *pair) for i, pair in enumerate(pairs)]
    )
    found = shadow_evidence(store.rollout_evidence, rollout)
    assert found.differences["confidence"] == pytest.approx((0.01, 0.01, 0.01))
    assert found.differences["known_score"] == pytest.approx((0.0, -0.45, 0.45))
    assert found.to_dict()["differences"]["confidence"][0] == pytest.approx(0.01)
