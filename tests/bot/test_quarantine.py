"""Updates that may have killed a process are handled alone, and others wait for them."""

from __future__ import annotations

import asyncio

import pytest
from telegram import Update

from bot.quarantine import Quarantine
from tests.support.virtual_time import run_in_virtual_time

LONGEST_S = 10.0
HANDLING_S = 3.0


def update(number: int, text: str = "x") -> Update:
    message = {"message_id": number, "date": 1, "chat": {"id": 1, "type": "private"}, "text": text}
    return Update.de_json({"update_id": number, "message": message}, None)


class Handling:
    """Handles updates for some time, and notes when each began and ended."""

    def __init__(self, *suspects: int) -> None:
        self.quarantine = Quarantine(LONGEST_S)
        self.times: dict[int, tuple[float, float]] = {}
        for number in suspects:
            self.quarantine.add(number)

    async def handle(self, *updates: Update, seconds: float = HANDLING_S) -> None:
        clock = asyncio.get_running_loop()
        async with self.quarantine.section(updates):
            began = clock.time()
            await asyncio.sleep(seconds)
        for each in updates:
            self.times[each.update_id] = (began, clock.time())


def test_suspect_updates_are_handled_one_at_a_time() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7, 8)
        await asyncio.gather(*(handling.handle(update(number)) for number in (7, 8)))
        return handling.times

    assert run_in_virtual_time(work()) == {7: (0, 3), 8: (3, 6)}


def test_other_updates_run_together_after_the_last_suspect() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7, 8)
        await asyncio.gather(*(handling.handle(update(number)) for number in (9, 7, 10, 8)))
        await handling.handle(update(11))
        return handling.times

    times = run_in_virtual_time(work())
    assert times == {7: (0, 3), 8: (3, 6), 9: (6, 9), 10: (6, 9), 11: (9, 12)}


def test_album_with_a_suspect_is_handled_as_a_suspect() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7, 8)
        album = handling.handle(update(9), update(7), update(8))
        await asyncio.gather(album, handling.handle(update(10)))
        return handling.times

    assert run_in_virtual_time(work()) == {9: (0, 3), 7: (0, 3), 8: (0, 3), 10: (3, 6)}


def test_other_updates_wait_no_longer_than_the_limit() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7)
        slow = handling.handle(update(7), seconds=100.0)
        await asyncio.gather(slow, handling.handle(update(8)))
        return handling.times

    assert run_in_virtual_time(work()) == {7: (0, 100), 8: (LONGEST_S, LONGEST_S + HANDLING_S)}


def test_limit_counts_from_the_latest_suspect() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7)
        await asyncio.sleep(6.0)
        handling.quarantine.add(8)
        await handling.handle(update(9))
        return handling.times

    began, _ = run_in_virtual_time(work())[9]
    assert began == 6.0 + LONGEST_S


def test_request_to_be_forgotten_does_not_wait() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7)
        await handling.handle(update(8, "/forget"))
        return handling.times

    assert run_in_virtual_time(work()) == {8: (0, HANDLING_S)}


def test_failed_suspect_delays_no_other_update() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7)
        with pytest.raises(ValueError, match="it fails"):
            async with handling.quarantine.section([update(7)]):
                raise ValueError("it fails")
        await handling.handle(update(8))
        return handling.times

    assert run_in_virtual_time(work()) == {8: (0, HANDLING_S)}


def test_suspect_that_another_process_finished_delays_no_other_update() -> None:
    async def work() -> dict[int, tuple[float, float]]:
        handling = Handling(7)
        waiting = asyncio.create_task(handling.handle(update(8)))
        await asyncio.sleep(2.0)
        handling.quarantine.discard([7, 99])
        await waiting
        return handling.times

    assert run_in_virtual_time(work()) == {8: (2, 2 + HANDLING_S)}
