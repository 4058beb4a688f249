from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import pytest

from core.settings import Settings
from core.store.send_slots import Pace, SendSlotTable, Slot
from core.store.store import Store

PACE = Pace(overall=2, chat_s=60.0, group=3)


@pytest.fixture
def tables(each: Settings) -> Iterator[list[SendSlotTable]]:
    """Return the tables of two processes over one database of each kind."""
    with closing(Store.open(each)) as one, closing(Store.open(each)) as other:
        yield [one.slots, other.slots]


def reserve(table: SendSlotTable, chat: str, pace: Pace = PACE, *, is_group: bool = False) -> Slot:
    """Request to send a message."""
    return table.reserve("everyone", chat, pace, is_group=is_group)


def test_messages_of_all_processes_are_evenly_spaced(tables: list[SendSlotTable]) -> None:
    pace = Pace(overall=1, chat_s=0.0, group=20)
    slots = [reserve(tables[n % 2], f"chat {n}", pace) for n in range(20)]
    assert all(slot.is_granted for slot in slots)
    # The last of 20 messages, at one a second; the requests themselves took a part of the time.
    assert slots[0].wait_s == 0
    waits = [slot.wait_s for slot in slots[1:]]
    assert all(b - a <= 1 for a, b in itertools.pairwise(waits))
    assert reserve(tables[0], "another", pace).wait_s <= 20


def test_chat_waits_whichever_process_wrote_to_it(tables: list[SendSlotTable]) -> None:
    one, other = tables
    assert reserve(one, "a").is_granted
    refused = reserve(other, "a")
    assert not refused.is_granted
    assert 0 < refused.wait_s <= PACE.chat_s
    assert reserve(other, "b").is_granted


def test_group_gets_a_limited_number_of_messages_a_minute(tables: list[SendSlotTable]) -> None:
    one, other = tables
    pace = Pace(overall=1_000_000, chat_s=0.0, group=3)
    granted = [reserve(table, "g", pace, is_group=True) for table in (one, other, one)]
    assert all(slot.is_granted for slot in granted)
    refused = reserve(other, "g", pace, is_group=True)
    assert not refused.is_granted
    assert refused.wait_s > 0


def test_pause_demanded_by_telegram_applies_to_all_processes(tables: list[SendSlotTable]) -> None:
    one, other = tables
    one.pause("a", 600.0)
    refused = reserve(other, "a")
    assert not refused.is_granted
    assert 0 < refused.wait_s <= 600.0
    other.purge()
    assert not reserve(one, "a").is_granted, "it is still needed"
