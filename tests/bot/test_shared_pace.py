"""Limits on messages that hold for several processes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from telegram.error import RetryAfter

from bot.rate_limiter import TelegramRateLimiter
from bot.shared_pace import SharedPace
from core.errors import StoreError
from core.settings import Settings
from core.store.send_slots import Pace, SendSlotTable, Slot
from core.store.store import Store

BOT, KEY = "123456", b"a key that all processes share"


class FailingSlots(SendSlotTable):
    """A table that cannot be used."""

    def reserve(self, *_: Any, **__: Any) -> Slot:
        raise StoreError("the database is unavailable")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store."""
    with closing(Store.open(Settings(home=tmp_path))) as store:
        yield store


def limiters(store: Store, n: int, *, overall: int, private_s: float) -> list[TelegramRateLimiter]:
    """Return the limiters of n processes."""
    return [
        TelegramRateLimiter(
            overall=overall, private_s=private_s, shared=SharedPace(store.slots, BOT, KEY)
        )
        for _ in range(n)
    ]


async def send(limiter: TelegramRateLimiter, chat: int, pauses: list[int] | None = None) -> float:
    """Send a message; return when it was sent."""

    async def deliver() -> float:
        if pauses:
            raise RetryAfter(pauses.pop())
        return time.monotonic()

    data = {"chat_id": chat}
    return float(await limiter.process_request(deliver, (), {}, "sendMessage", data, None))


def test_processes_keep_to_the_overall_limit_together(store: Store) -> None:
    async def send_all() -> list[float]:
        processes = limiters(store, 3, overall=20, private_s=0)
        return await asyncio.gather(*(send(processes[n % 3], n) for n in range(13)))

    moments = asyncio.run(send_all())
    assert max(moments) - min(moments) >= 0.5, "the last of 13 comes 12/20 s after the first"


def test_processes_keep_to_the_limit_of_a_chat_together(store: Store) -> None:
    async def send_all() -> list[float]:
        one, other = limiters(store, 2, overall=1000, private_s=0.5)
        return [await send(one, 1), await send(other, 1)]

    first, second = asyncio.run(send_all())
    assert second - first >= 0.4


def test_pause_demanded_by_telegram_applies_to_other_processes(store: Store) -> None:
    async def send_all() -> tuple[float, float]:
        one, other = limiters(store, 2, overall=1000, private_s=0)
        began_at = time.monotonic()
        await send(one, 1, pauses=[1])
        await SharedPace(store.slots, BOT, KEY).pause(1, 0.5)
        paused_at = time.monotonic()
        return paused_at - began_at, await send(other, 1) - paused_at

    demanded, of_another = asyncio.run(send_all())
    assert demanded >= 0.9
    assert of_another >= 0.4


def test_messages_are_sent_while_the_database_is_unavailable(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    pace = SharedPace(FailingSlots(store.database), BOT, KEY)

    async def wait_twice() -> None:
        for chat in (1, 2):
            await pace.wait(chat, Pace(1, 60.0, 1), is_group=False)

    with caplog.at_level(logging.WARNING):
        asyncio.run(asyncio.wait_for(wait_twice(), 60))
    assert caplog.text.count("apply to this process alone") == 1, "once, until it works again"


def test_chats_are_stored_as_keyed_hashes(store: Store) -> None:
    async def wait() -> None:
        await SharedPace(store.slots, BOT, KEY).wait(987654, Pace(30, 1.0, 20), is_group=False)

    asyncio.run(wait())
    with store.database.read() as connection:
        keys = connection.exec_driver_sql("SELECT key FROM send_slots").scalars().all()
    assert sorted(map(len, keys)) == [len(f"bot:{BOT}"), 64]
    assert not any("987654" in key for key in keys)
