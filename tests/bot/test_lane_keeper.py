"""The lease of a process, and the chats that it claims."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from telegram import Bot

from bot.lane_keeper import LaneKeeper
from bot.timings import Timings
from core.errors import StoreError
from core.settings import Settings
from core.store.inbox import StoredUpdate
from core.store.lanes import Lane, LaneTable
from core.store.store import Store

BOT = cast(Bot, SimpleNamespace(id=5))
DEAD = "d" * 32


class FailingLanes(LaneTable):
    """A table that cannot be used while it fails."""

    fails = False

    def renew(self, *process: Any) -> None:
        if self.fails:
            raise StoreError("the database is unavailable")
        super().renew(*process)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store with two updates, one of which a dead process was to handle."""
    with closing(Store.open(Settings(home=tmp_path))) as store:
        store.inbox.receive(BOT.id, [(1, 10, "{}")], DEAD)
        store.inbox.receive(BOT.id, [(2, 11, "{}")])
        yield store


def renew_and_claim(keeper: LaneKeeper, known: set[int], room: int) -> list[StoredUpdate]:
    """Renew the lease and claim lanes; return the updates that are not known."""
    keeper.renew()
    return keeper.claim(known, room)


def keeper_of(
    store: Store, *, now: list[float], alone: bool = False, lanes: LaneTable | None = None
) -> LaneKeeper:
    """Return a keeper whose clock shows the first number of a list."""
    lanes = lanes or store.lanes
    return LaneKeeper(
        store.inbox, lanes, BOT, Timings(lease_s=7.0), alone=alone, clock=lambda: now[0]
    )


def test_first_claim_takes_free_lanes_and_those_of_dead_processes(store: Store) -> None:
    keeper = keeper_of(store, now=[0.0])
    assert [update.number for update in renew_and_claim(keeper, set(), 9)] == [1, 2]
    assert keeper.claimed == 2
    assert renew_and_claim(keeper, {1, 2}, 9) == []


def test_claim_takes_no_more_lanes_than_there_is_room_for(store: Store) -> None:
    keeper = keeper_of(store, now=[0.0])
    assert renew_and_claim(keeper, set(), 0) == []
    assert keeper.elsewhere == 2
    assert len(renew_and_claim(keeper, set(), 1)) == 1
    assert keeper.elsewhere == 1


def test_claim_returns_updates_that_another_process_received(store: Store) -> None:
    keeper = keeper_of(store, now=[0.0])
    renew_and_claim(keeper, set(), 9)
    store.inbox.receive(BOT.id, [(3, 10, "{}")], "another")
    assert [update.number for update in renew_and_claim(keeper, {1, 2}, 9)] == [3]


def test_processes_can_renew_their_leases_after_an_outage(store: Store) -> None:
    now, lanes = [0.0], FailingLanes(store.database)
    keeper = keeper_of(store, now=now, lanes=lanes)
    renew_and_claim(keeper, set(), 0)
    lanes.fails = True
    with pytest.raises(StoreError):
        renew_and_claim(keeper, set(), 9)
    lanes.fails = False
    now[0] = 100.0
    assert [update.number for update in renew_and_claim(keeper, set(), 9)] == [2], (
        "it belongs to nobody"
    )
    now[0] = 113.9
    assert renew_and_claim(keeper, {2}, 9) == []
    now[0] = 114.0
    assert [update.number for update in renew_and_claim(keeper, {2}, 9)] == [1]


def test_sole_process_claims_the_lanes_of_others_at_once(store: Store) -> None:
    store.lanes.renew(BOT.id, DEAD, 600)
    assert len(renew_and_claim(keeper_of(store, now=[0.0], alone=True), set(), 9)) == 2


def test_lane_with_further_updates_stays_owned(store: Store) -> None:
    keeper = keeper_of(store, now=[0.0])
    renew_and_claim(keeper, set(), 9)
    store.inbox.receive(BOT.id, [(3, 10, "{}")], "another")
    store.inbox.finish(BOT.id, [1, 2])
    assert [update.number for update in keeper.release([Lane(10), Lane(11)])] == [3]
    keeper.leave()
    assert store.lanes.claim(BOT.id, "another", 9) == [Lane(10)]
