"""Let one of several processes of a bot fetch updates, and others take over from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from bot.state import BotState
from bot.tasks import set_after, wait_or_stop
from core.errors import BotError, StoreError
from core.store.process_lock import ProcessLock

__all__ = ["only_process", "run_while_active"]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def only_process(state: BotState, bot: int) -> AsyncIterator[None]:
    """Hold the lock of the bot's only process, which a SQLite database requires.

    Raises:
        BotError: Another process holds it.
        StoreError: The lock file cannot be used.
    """
    database = state.store.database
    if database.is_shared:
        yield
        return
    lock = ProcessLock(database, f"bot-{bot}")
    if not await asyncio.to_thread(lock.acquire):
        raise BotError(
            f"Another process runs this bot with the database {database.file}, and with SQLite "
            "only one may. Stop it, or set TENSIGHT_DATABASE_URL to a PostgreSQL database in both."
        )
    try:
        yield
    finally:
        lock.release()


async def run_while_active(
    state: BotState,
    bot: int,
    stop: asyncio.Event,
    work: Callable[[asyncio.Event], Awaitable[None]],
    report: Callable[[str], None],
) -> None:
    """Do work whenever this is the active process of the bot, until it stops.

    Args:
        state: The bot's state.
        bot: Id of the bot.
        stop: Set to stop waiting and working.
        work: Runs until its argument is set: when the bot stops, or another process is active.
        report: Called with one line when this process begins to wait for the active one to end.
    """
    if not state.store.database.is_shared:
        await work(stop)
        return
    lock, waits = ProcessLock(state.store.database, f"polling-{bot}"), False
    try:
        while not stop.is_set():
            if await _try_lock(lock):
                waits = False
                await _work_while_held(lock, state.timings.claim_s, stop, work)
                continue
            if not waits:
                report("Another process fetches updates; this one stands by")
            waits = True
            await wait_or_stop(stop, state.timings.claim_s)
    finally:
        await asyncio.to_thread(lock.release)


async def _try_lock(lock: ProcessLock) -> bool:
    try:
        return await asyncio.to_thread(lock.acquire)
    except StoreError as error:
        logger.warning("It cannot be determined which process is active: %s", error)
        return False


async def _work_while_held(
    lock: ProcessLock,
    check_s: float,
    stop: asyncio.Event,
    work: Callable[[asyncio.Event], Awaitable[None]],
) -> None:
    ends = asyncio.Event()

    async def watch() -> None:
        while not await wait_or_stop(ends, check_s):
            if not await asyncio.to_thread(lock.is_held):
                break
        else:
            return
        logger.warning("The database connection is lost: another process may become active")
        ends.set()

    watching = [asyncio.create_task(watch()), asyncio.create_task(set_after(stop, ends))]
    try:
        await work(ends)
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
