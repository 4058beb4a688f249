from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from core.settings import Settings
from core.store.confirmations import PendingCommand
from core.store.store import Store

EXPECTED = {"revision": "a", "last_good": None}


@pytest.fixture
def store(each: Settings) -> Iterator[Store]:
    """Return a store of each kind."""
    with closing(Store.open(each)) as store:
        yield store


def test_command_waits_for_its_operator(store: Store) -> None:
    key = store.confirmations.add("me", "rollback a", EXPECTED, 300.0)
    assert store.confirmations.get(key) == PendingCommand(
        "me", "rollback a", EXPECTED, is_valid=True, result=None
    )
    assert store.confirmations.get("unknown") is None


def test_command_expires(store: Store) -> None:
    pending = store.confirmations.get(store.confirmations.add("me", "maintenance on", {}, 0.0))
    assert pending is not None
    assert not pending.is_valid


def test_result_is_kept_for_a_repeated_press(store: Store) -> None:
    key = store.confirmations.add("me", "maintenance on", {}, 300.0)
    store.confirmations.finish(key, "maintenance is on")
    pending = store.confirmations.get(key)
    assert pending is not None
    assert pending.result == "maintenance is on"


def test_cancelled_and_old_commands_are_deleted(store: Store) -> None:
    cancelled, old = (store.confirmations.add("me", "maintenance on", {}, 300.0) for _ in range(2))
    store.confirmations.finish(cancelled)
    assert store.confirmations.get(cancelled) is None
    store.purge_before(datetime.now(UTC) + timedelta(days=1))
    assert store.confirmations.get(old) is None
