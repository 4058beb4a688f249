"""Processes that store the same thing at once: none of them fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import pytest

from core.errors import StoreError
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import StoredAnswer
from core.store.lessons import Lesson, LessonPhoto
from core.store.live import HubSource
from core.store.store import Store

_PROCESSES = 4
_ROUNDS = 10
ANSWER = StoredAnswer(None, "file", "m", "0" * 12, "cat", "known", {"cat": 1.0})


def set_chat(store: Store, number: int) -> None:
    store.chats.set(number, Chat(model=f"model{number}"))


def set_flag(store: Store, number: int) -> None:
    store.flags.set(f"flag{number}", on=True)


def set_digest(store: Store, number: int) -> None:
    store.digests.set(f"operator{number}", 7)


def add_answer(store: Store, number: int) -> None:
    store.feedback.add_answer(f"key{number}", ANSWER)


def begin_lesson(store: Store, number: int) -> None:
    store.lessons.begin(number, Lesson("teacher"))


def add_lesson_photo(store: Store, number: int) -> None:
    store.lessons.begin(number, Lesson("teacher"))
    photo = LessonPhoto("photo", "file", "cat", None, datetime.now(UTC))
    store.lessons.add(number, [photo])


def set_live_revision(store: Store, number: int) -> None:
    origins = {"1" * 12: HubSource("owner/name", "a" * 40)}
    store.live.promote({f"m{number}": "1" * 12}, {}, origins=origins)


def write_at_once(settings: Settings, write: Callable[[Store, int], object]) -> list[object]:
    """Write ten things, each by several processes at once; return errors and results."""
    barrier = threading.Barrier(_PROCESSES)

    def work(store: Store) -> list[object]:
        outcomes: list[object] = []
        for number in range(_ROUNDS):
            barrier.wait(60)
            try:
                outcomes.append(write(store, number))
            except StoreError as error:
                outcomes.append(error)
        return outcomes

    with ExitStack() as stack, ThreadPoolExecutor(_PROCESSES) as pool:
        stores = [stack.enter_context(closing(Store.open(settings))) for _ in range(_PROCESSES)]
        return [each for outcomes in pool.map(work, stores) for each in outcomes]


@pytest.mark.parametrize(
    "write",
    [
        set_chat,
        set_flag,
        set_digest,
        add_answer,
        begin_lesson,
        add_lesson_photo,
        set_live_revision,
    ],
)
def test_same_row_can_be_written_at_once(
    each: Settings, write: Callable[[Store, int], None]
) -> None:
    outcomes = write_at_once(each, write)
    assert outcomes == [None] * (_PROCESSES * _ROUNDS)


def test_one_of_several_rollouts_begins(each: Settings) -> None:
    def begin(store: Store, number: int) -> object:
        return store.rollouts.begin(
            f"m{number}", "shadow", candidate="1" * 12, live="0" * 12, share=1.0, slow_ms=1.0
        )

    outcomes = write_at_once(each, begin)
    errors = [str(outcome) for outcome in outcomes if isinstance(outcome, StoreError)]
    assert len(errors) == (_PROCESSES - 1) * _ROUNDS
    assert all("is active already" in error for error in errors)
