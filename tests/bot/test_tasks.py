"""Background tasks, and waits that end when the bot stops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from bot.tasks import BackgroundTasks, run_in_daemon_thread, unless_stopped, wait_or_stop
from tests.support.virtual_time import run_in_virtual_time


def test_cancelled_background_tasks_have_ended() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def run() -> None:
        tasks = BackgroundTasks()
        tasks.start(work())
        tasks.start(work())
        await asyncio.sleep(0)
        await tasks.cancel()
        assert ended == [True, True]

    asyncio.run(run())


def test_request_is_cancelled_if_the_bot_stops_first() -> None:
    async def run() -> None:
        stop, cancelled = asyncio.Event(), asyncio.Event()

        async def request() -> bool:
            try:
                return await asyncio.Event().wait()
            finally:
                cancelled.set()

        waiting = asyncio.create_task(unless_stopped(stop, request()))
        await asyncio.sleep(0)
        stop.set()
        assert await waiting is None
        assert cancelled.is_set()
        assert await unless_stopped(asyncio.Event(), asyncio.sleep(0, "done")) == "done"

    asyncio.run(run())


def test_wait_says_whether_the_bot_stops() -> None:
    async def run() -> None:
        stop = asyncio.Event()
        assert not await wait_or_stop(stop, 3600)
        asyncio.get_running_loop().call_later(60, stop.set)
        assert await wait_or_stop(stop, 3600)

    run_in_virtual_time(run())


def test_daemon_thread_returns_or_raises() -> None:
    def fail() -> None:
        raise LookupError("no such thing")

    assert asyncio.run(run_in_daemon_thread(lambda: threading.current_thread().daemon))
    with pytest.raises(LookupError, match="no such thing"):
        asyncio.run(run_in_daemon_thread(fail))


def test_result_for_a_cancelled_caller_is_dropped() -> None:
    async def run() -> None:
        release = threading.Event()
        waiting = asyncio.create_task(run_in_daemon_thread(release.wait))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        # An error in the thread or the loop fails the test.
        await run_in_daemon_thread(lambda: None)

    asyncio.run(run())
