"""One of several processes of a bot works, and another one takes over from it."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot import standby
from bot.standby import only_process, run_while_active
from bot.state import BotState
from bot.timings import Timings
from core.errors import BotError, StoreError
from core.settings import Settings
from core.store.store import Store


class FakeLock:
    """A lock of a shared database that is taken, and lost, when a test wants."""

    def __init__(self, *_: object) -> None:
        self.attempts: list[bool | StoreError] = []
        self.held = True
        self.released = False

    def acquire(self) -> bool:
        found = self.attempts.pop(0) if self.attempts else True
        if isinstance(found, StoreError):
            raise found
        return found

    def is_held(self) -> bool:
        return self.held

    def release(self) -> None:
        self.released = True


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> FakeLock:
    lock = FakeLock()
    monkeypatch.setattr(standby, "ProcessLock", lambda *_: lock)
    return lock


def shared_state() -> BotState:
    """Return the state of a bot with a database that processes share."""
    state: Any = SimpleNamespace(
        store=SimpleNamespace(database=SimpleNamespace(is_shared=True)),
        timings=Timings(claim_s=0.01),
    )
    return cast("BotState", state)


def test_second_process_with_sqlite_is_refused(tmp_path: Path) -> None:
    async def run(state: BotState) -> None:
        async with only_process(state, 7):
            with pytest.raises(BotError, match="only one may"):
                async with only_process(state, 7):
                    pass
            async with only_process(state, 8):
                pass
        async with only_process(state, 7):
            pass

    with closing(Store.open(Settings(home=tmp_path / "home"))) as store:
        state: Any = SimpleNamespace(store=store)
        asyncio.run(run(cast("BotState", state)))


def test_process_stands_by_until_the_lock_is_free(lock: FakeLock) -> None:
    lock.attempts = [False, StoreError("the database is away"), False]
    lines: list[str] = []

    async def run() -> None:
        stop = asyncio.Event()

        async def work(ends: asyncio.Event) -> None:
            assert lock.attempts == []
            stop.set()
            await ends.wait()

        await run_while_active(shared_state(), 7, stop, work, lines.append)

    asyncio.run(run())
    assert lines == ["Another process fetches updates; this one stands by"]
    assert lock.released


def test_work_ends_when_the_lock_is_lost(lock: FakeLock) -> None:
    async def run() -> None:
        stop, starts = asyncio.Event(), 0

        async def work(ends: asyncio.Event) -> None:
            nonlocal starts
            starts += 1
            if starts == 1:
                lock.held = False
            else:
                lock.held = True
                stop.set()
            await ends.wait()

        await run_while_active(shared_state(), 7, stop, work, lambda _: None)
        assert starts == 2

    asyncio.run(run())


def test_process_with_sqlite_works_at_once(tmp_path: Path) -> None:
    async def run(state: BotState) -> None:
        given = asyncio.Event()

        async def work(ends: asyncio.Event) -> None:
            assert ends is given

        await run_while_active(state, 7, given, work, lambda _: None)

    with closing(Store.open(Settings(home=tmp_path / "home"))) as store:
        state: Any = SimpleNamespace(store=store)
        asyncio.run(run(cast("BotState", state)))
