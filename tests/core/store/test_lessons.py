"""Lessons of chats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.settings import Settings
from core.store.lessons import Lesson, LessonPhoto, LessonTable
from core.store.store import Store

AT = datetime(2026, 5, 3, 10, 30, tzinfo=UTC)
CAT, DOG = (LessonPhoto(f"photo {label}", "file", label, "person", AT) for label in ("cat", "dog"))


@pytest.fixture
def lessons(each: Settings) -> Iterator[LessonTable]:
    with closing(Store.open(each)) as store:
        yield store.lessons


def test_lesson_begins_once_and_ends_with_its_photos(lessons: LessonTable) -> None:
    assert lessons.find(5) is None
    lessons.begin(5, Lesson("teacher"))
    lessons.begin(5, Lesson("another"))
    assert lessons.find(5) == Lesson("teacher")
    lessons.add(5, [CAT, DOG])
    lessons.set_title(5, "Pets")
    assert lessons.find(5) == Lesson("teacher", None, "dog", "Pets")
    assert lessons.photos(5) == [CAT, DOG]
    assert lessons.photos(6) == []
    lessons.end(5)
    assert lessons.find(5) is None
    assert lessons.photos(5) == []


def test_photo_that_is_sent_again_moves_to_its_new_class(lessons: LessonTable) -> None:
    lessons.begin(5, Lesson("teacher"))
    lessons.add(5, [CAT, DOG])
    moved = replace(CAT, label="dog")
    lessons.add(5, [moved])
    assert lessons.photos(5) == [DOG, moved]


def test_lesson_follows_a_group_unless_the_new_one_has_its_own(lessons: LessonTable) -> None:
    for chat, photo in ((1, CAT), (2, DOG)):
        lessons.begin(chat, Lesson(f"teacher {chat}"))
        lessons.add(chat, [photo])
    lessons.move(1, 2)
    assert lessons.photos(2) == [DOG]
    lessons.move(1, 3)
    assert (lessons.find(1), lessons.photos(3)) == (None, [CAT])
    assert lessons.find(3) == Lesson("teacher 1", None, "cat")
