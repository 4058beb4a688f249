"""Background tasks, and waits that end when the bot stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

__all__ = [
    "BackgroundTasks",
    "run_in_daemon_thread",
    "set_after",
    "unless_stopped",
    "wait_or_stop",
]

_T = TypeVar("_T")
_V = TypeVar("_V")


class BackgroundTasks:
    """Tasks that no handler waits for; they are cancelled when the bot stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Cancel all running tasks and wait until they have ended."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def unless_stopped(stop: asyncio.Event, request: Coroutine[Any, Any, _T]) -> _T | None:
    """Return the result of a request, or None if the bot stops first."""
    task, stopped = asyncio.create_task(request), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def set_after(event: asyncio.Event, other: asyncio.Event) -> None:
    """Set an event once another one is set."""
    await event.wait()
    other.set()


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for some seconds or until the bot stops; return whether it stops."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def run_in_daemon_thread(function: Callable[[], _T]) -> _T:
    """Run a blocking function as `asyncio.to_thread` does, in a daemon thread.

    The thread does not delay the end of the process, so the function may be cut off at any
    moment: it must be safe to stop anywhere.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(setter: Callable[[_V], None], value: _V) -> None:
        if not future.cancelled():
            setter(value)

    def work() -> None:
        with suppress(RuntimeError):  # The loop has been closed.
            try:
                outcome = function()
            except BaseException as error:  # noqa: BLE001  # raised in the waiting coroutine
                loop.call_soon_threadsafe(settle, future.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, future.set_result, outcome)

    threading.Thread(target=work, name="blocking", daemon=True).start()
    return await future
