"""The queue of photos that operators label."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from core.settings import Settings
from core.store.feedback import LABEL, Feedback, StoredAnswer, StoreResult
from core.store.rollout_evidence import AnswerSummary, Comparison, answer_digest
from core.store.store import Store

PERSON = "person"


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    with closing(Store.open(each)) as store:
        yield store


def answer(
    store: Store, key: str, sure: float, *, file: str = "", may_label: bool = True, model: str = "m"
) -> dict[str, float]:
    """Store an answer; return its scores."""
    scores = {"cat": sure, "dog": 1 - sure}
    label = max(scores, key=lambda each: scores[each])
    said = StoredAnswer(PERSON, file or key, model, "1", label, "known", scores)
    store.feedback.add_answer(key, StoredAnswer(**(vars(said) | {"may_label": may_label})))
    return scores


def feedback(front: str = LABEL, truth: str = "cat") -> Feedback:
    return Feedback(
        "label" if front == LABEL else "bot",
        "m",
        "1",
        "cat",
        "known",
        {"cat": 1.0},
        truth,
        PERSON,
        b"photo",
    )


def waiting(store: Store) -> list[str]:
    return [each.key for each in store.labels.waiting()]


def test_least_sure_photos_come_first(store: Store) -> None:
    for key, sure in (("sure", 0.99), ("least", 0.52), ("less", 0.7)):
        answer(store, key, sure)
    assert waiting(store) == ["least", "less", "sure"]


def test_photos_on_which_models_disagree_come_before_others(store: Store) -> None:
    answer(store, "least", 0.51)
    answer(store, "one", 0.9, file="same", model="m")
    answer(store, "other", 0.2, file="same", model="n")
    shadowed = answer(store, "shadowed", 0.97)
    rollout = store.rollouts.begin("m", "shadow", candidate="2", live="1", share=1.0, slow_ms=9.0)
    live, candidate = (AnswerSummary(label, "known", 0.9, 0.9, 1.0) for label in ("cat", "dog"))
    digest = answer_digest("m", "1", shadowed)
    store.rollout_evidence.add_comparisons(rollout.number, [Comparison(digest, live, candidate)])
    assert waiting(store) == ["other", "shadowed", "least"]


def test_only_photos_of_consenting_people_wait(store: Store) -> None:
    answer(store, "yes", 0.6)
    answer(store, "no", 0.6, may_label=False)
    answer(store, "judged", 0.6)
    store.feedback.judge("judged", feedback("bot"))
    assert waiting(store) == ["yes"]
    store.labels.withdraw(PERSON)
    assert waiting(store) == []
    assert store.feedback.label("yes", feedback()) is None


def test_photo_is_labelled_once(store: Store) -> None:
    answer(store, "one", 0.9, file="same")
    answer(store, "other", 0.8, file="same", model="n")
    stored = store.feedback.label("one", feedback())
    assert stored == StoreResult(feedback=True, photo=True)
    assert store.feedback.label("other", feedback()) is None, "the same photo"
    assert waiting(store) == []
    # Its sender may still judge the answer.
    assert store.feedback.judge("one", feedback("bot")) is not None


def test_skipped_photo_does_not_come_again(store: Store) -> None:
    answer(store, "one", 0.9)
    store.labels.skip("one")
    store.labels.skip("unknown")
    assert waiting(store) == []


def test_labels_are_exported_but_not_counted_as_feedback(store: Store) -> None:
    answer(store, "one", 0.9)
    store.feedback.label("one", feedback(truth="dog"))
    assert [truth for _, truth, _ in store.feedback.photos()] == ["dog"]
    assert store.feedback.stats() == []
    (row,) = store.feedback.stats(labels=True)
    assert (row.n, row.right) == (1, 0)
    assert store.chats.user_stats(PERSON).judged == 0
    rollout = store.rollouts.begin("m", "canary", candidate="2", live="1", share=0.5, slow_ms=9.0)
    answer(store, "two", 0.9)
    store.feedback.label("two", feedback())
    assert store.rollout_evidence.judged(rollout, ["1"]) == []


def test_forgetting_a_sender_deletes_labels_and_photos(store: Store) -> None:
    answer(store, "one", 0.9)
    answer(store, "two", 0.9)
    store.feedback.label("one", feedback())
    store.chats.forget(PERSON, set())
    assert list(store.feedback.photos()) == []
    assert waiting(store) == []
    assert store.feedback.label("two", feedback()) is None
