"""Commands that wait to be confirmed."""

from __future__ import annotations

import asyncio

from bot.confirmations import Confirmations
from bot.outcome import Outcome
from tests.support.virtual_time import run_in_virtual_time


def done() -> Outcome:
    return Outcome("maintenance_on")


def test_command_can_be_confirmed_for_five_minutes() -> None:
    async def confirm() -> list[bool]:
        confirmations = Confirmations(300.0)
        key = confirmations.add(1, "maintenance on", done)
        found = []
        for seconds in (290, 20):
            await asyncio.sleep(seconds)
            found.append(confirmations.get(key) is not None)
        return found

    assert run_in_virtual_time(confirm()) == [True, False]


def test_command_can_be_confirmed_by_its_operator_alone() -> None:
    async def check() -> tuple[bool, bool, bool]:
        confirmations = Confirmations(300.0)
        key = confirmations.add(1, "maintenance on", done)
        return (
            confirmations.may_press(key, 1),
            confirmations.may_press(key, 2),
            confirmations.may_press("unknown", 2),
        )

    assert asyncio.run(check()) == (True, False, True)


def test_finished_command_keeps_its_result_for_a_repeated_press() -> None:
    async def finish() -> Confirmations:
        confirmations = Confirmations(300.0)
        key = confirmations.add(1, "maintenance on", done)
        confirmations.finish(key, "maintenance is on")
        assert confirmations.get(key) is None
        assert confirmations.result(key) == "maintenance is on"
        return confirmations

    asyncio.run(finish())
