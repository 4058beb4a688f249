from __future__ import annotations

from contextlib import closing

import pytest

from core.settings import Settings
from core.store.chats import ChatTable
from core.store.database import Database
from core.store.feedback import (
    FeedbackTable,
    StorageLimits,
    StoreResult,
)
from core.store.store import Store
from tests.support.feedback import feedback, page_feedback, stored_answer

KEPT, WITHOUT_PHOTO, REFUSED = (
    StoreResult(True, True),
    StoreResult(True, False),
    StoreResult(False, False),
)


def test_number_of_stored_photos_is_limited(each: Settings) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, StorageLimits(photos=2))
        table.add_answer("k1", stored_answer())
        assert table.add(feedback("cat", photo=b"1")) == KEPT
        assert table.add(feedback("cat")) == WITHOUT_PHOTO, "the feedback has no photo"
        assert table.judge("k1", feedback("cat", photo=b"2")) == KEPT
        assert table.add(feedback("cat", photo=b"3")) == WITHOUT_PHOTO
        assert [photo for _, _, photo in table.photos()] == [b"1", b"2"]
        assert table.stats()[0].n == 4, "feedback without a photo is not counted"


@pytest.mark.parametrize(
    ("bounds", "mine", "yours"),
    [
        (StorageLimits(person_photos=1), WITHOUT_PHOTO, KEPT),
        (StorageLimits(person_photo_bytes=15), WITHOUT_PHOTO, KEPT),
        (StorageLimits(photo_bytes=15), WITHOUT_PHOTO, WITHOUT_PHOTO),
        (StorageLimits(person_feedback=1), REFUSED, KEPT),
        (StorageLimits(feedback=1), REFUSED, REFUSED),
    ],
)
def test_feedback_is_limited_per_user_and_in_total(
    each: Settings, bounds: StorageLimits, mine: StoreResult, yours: StoreResult
) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, bounds)
        assert table.add(feedback("cat", "me", b"0123456789")) == KEPT
        assert table.add(feedback("cat", "me", b"0123456789")) == mine
        assert table.add(feedback("cat", "you", b"0123456789")) == yours
        ChatTable(database).forget("me", set())
        assert table.add(feedback("cat", "me", b"0123456789")) in (KEPT, yours), (
            "deleting a user does not free space"
        )


def test_answers_are_limited_per_user_and_in_total(each: Settings) -> None:
    with closing(Database.open(each)) as database:
        table = FeedbackTable(database, StorageLimits(answers=3, person_answers=2))

        def stored() -> list[str]:
            return [key for key in ("a", "b", "c", "d", "e") if table.answer(key)]

        for key in ("a", "b", "c"):
            table.add_answer(key, stored_answer("me"))
        assert stored() == ["b", "c"], "the oldest answer of the user was not replaced"
        for key in ("d", "e"):
            table.add_answer(key, stored_answer(None))
        assert stored() == ["c", "d", "e"], "the oldest answer of all was not replaced"


def test_only_the_highest_scores_are_stored(each: Settings) -> None:
    scores = {f"label{i}": i / 1000 for i in range(1000)}
    with closing(Store.open(each)) as store:
        store.feedback.add_answer("k", stored_answer("me", **scores))
        stored = store.feedback.answer("k")
    assert stored is not None
    assert len(stored.scores) == 100
    assert min(stored.scores.values()) == 0.9


def test_correctness_compares_answer_verdict_and_truth() -> None:
    assert page_feedback("cat").right
    assert page_feedback("cat", verdict="unsure").right
    assert not page_feedback("dog").right
    assert not page_feedback("none").right
    assert page_feedback("none", verdict="none").right
    assert not page_feedback("cat", verdict="none").right
