"""Background tasks, waiting and retry helpers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = [
    "PAUSES_S",
    "run_in_daemon_thread",
    "set_after",
    "start",
    "unless_stopped",
    "wait_or_stop",
]

PAUSES_S = (1.0, 60.0)
"""Seconds between attempts while Telegram is away: at first, and at most."""

_T = TypeVar("_T")
_V = TypeVar("_V")


async def unless_stopped(stop: asyncio.Event, asking: Coroutine[Any, Any, _T]) -> _T | None:
    """What comes of asking Telegram; None where the process is told to stop first."""
    task, stopped = asyncio.create_task(asking), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def set_after(event: asyncio.Event, other: asyncio.Event) -> None:
    """Set an event once another is."""
    await event.wait()
    other.set()


async def wait_or_stop(stop: asyncio.Event, pause: float) -> float:
    """Wait, unless told to stop; how long to wait the next time."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), pause)
    return min(2 * pause, PAUSES_S[1])


def start(bot_data: dict[Any, Any], work: Coroutine[Any, Any, None]) -> None:
    """Do something that nothing waits for; it ends with the application at the latest."""
    tasks: set[asyncio.Task[None]] = bot_data["tasks"]
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def run_in_daemon_thread(do: Callable[[], _T]) -> _T:
    """Run a blocking function as `asyncio.to_thread` does, in a daemon thread.

    The thread does not hold up the end of the process, so the function may be cut off at any
    moment: it must be safe to stop anywhere.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(put: Callable[[_V], None], what: _V) -> None:
        if not future.cancelled():
            put(what)

    def work() -> None:
        with suppress(RuntimeError):  # the loop has ended
            try:
                outcome = do()
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                loop.call_soon_threadsafe(settle, future.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, future.set_result, outcome)

    threading.Thread(target=work, name="blocking", daemon=True).start()
    return await future
