"""The parts of the store together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from core.settings import Settings
from core.store.feedback import StoredAnswer
from core.store.lessons import Lesson, LessonPhoto
from core.store.store import Store

NOW = datetime.now(UTC)
ANSWER = StoredAnswer("person", "file", "classic", "1" * 12, "cat", "known", {"cat": 1.0})


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    with closing(Store.open(each)) as store:
        store.feedback.add_answer("key", ANSWER)
        store.confirmations.add("operator", "maintenance on", {}, 60)
        store.lessons.begin(5, Lesson("teacher"))
        store.lessons.add(5, [LessonPhoto("photo", "file", "cat", "person", NOW)])
        yield store


def test_store_is_found_once_it_was_opened(settings: Settings) -> None:
    assert Store.find(settings) is None
    Store.open(settings).close()
    found = Store.find(settings)
    assert found is not None
    found.close()


def test_old_answers_and_lessons_are_purged(store: Store) -> None:
    store.purge_before(NOW - timedelta(hours=1))
    assert store.feedback.answer("key") == ANSWER
    assert store.lessons.photos(5) != []
    store.purge_before(datetime.now(UTC) + timedelta(hours=1))
    assert store.feedback.answer("key") is None
    assert store.lessons.find(5) is None
    assert store.lessons.photos(5) == []


def test_process_without_a_bot_purges_nothing_of_the_bot(store: Store) -> None:
    store.purge_rollouts_before(datetime.now(UTC) + timedelta(hours=1))
    assert store.feedback.answer("key") == ANSWER
    assert store.lessons.find(5) is not None
