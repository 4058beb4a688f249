from __future__ import annotations

import threading

import pytest

from core.bundle.folder import BUNDLED
from core.errors import StoreError
from core.settings import Settings
from core.store.live import HubSource, LiveRevision
from core.store.store import Store


def test_promotion_is_live_and_can_be_rolled_back(each: Settings) -> None:
    store = Store.open(each)
    assert store.live.all() == {}
    store.live.promote({"a": "1", "b": "1"}, {"a": "0"})
    assert store.live.all() == {"a": LiveRevision("1", BUNDLED), "b": LiveRevision("1", None)}
    store.live.promote({"a": "2"}, {"a": "0"})
    assert store.live.all()["a"] == LiveRevision("2", "1")
    store.live.promote({"a": "2"}, {"a": "0"})
    assert store.live.all()["a"] == LiveRevision("2", "1"), (
        "promoting the live revision again changed last good"
    )
    assert store.live.roll_back("a") == LiveRevision("1", "2") == store.live.all()["a"]
    assert store.live.roll_back("a") == LiveRevision("2", "1"), "a second rollback does not return"
    store.live.promote({"a": BUNDLED}, {"a": "0"})
    assert store.live.all()["a"] == LiveRevision(BUNDLED, "2")
    for model in ("b", "c"):
        with pytest.raises(StoreError, match=f"Cannot roll back {model}: "):
            store.live.roll_back(model)
    store.close()


def test_first_pull_keeps_promoted_revisions(each: Settings) -> None:
    store = Store.open(each)
    store.live.promote({"a": "2"}, {"a": "0", "b": "0"})
    store.live.promote({"a": "1", "b": "1"}, {"a": "0", "b": "0"}, first=True)
    assert store.live.all() == {"a": LiveRevision("2", BUNDLED), "b": LiveRevision("1", BUNDLED)}
    store.close()


def test_promotion_stores_the_hub_commit(each: Settings) -> None:
    store = Store.open(each)
    assert store.live.sources() == {}
    store.live.promote({"a": "1"}, {}, origins={"1": HubSource("owner/a", "c" * 40)})
    store.live.promote({"a": "2"}, {}, origins={"2": HubSource("owner/a", "d" * 40)})
    store.live.promote({"a": "2"}, {}, origins={"2": HubSource("owner/b", "e" * 40)})
    assert store.live.sources() == {
        "1": HubSource("owner/a", "c" * 40),
        "2": HubSource("owner/b", "e" * 40),
    }
    assert store.live.all() == {"a": LiveRevision("2", "1")}
    store.close()


def test_promotion_is_visible_to_other_connections(each: Settings) -> None:
    store = Store.open(each)
    store.live.promote({"a": "1"}, {})
    other = Store.find(each)
    assert other is not None
    assert other.live.all() == {"a": LiveRevision("1", None)}
    other.live.promote({"a": "2"}, {})
    assert store.live.all()["a"].revision == "2"
    other.close()
    store.close()


def test_concurrent_promotions_are_all_stored(each: Settings) -> None:
    Store.open(each).close()

    def write(i: int) -> None:
        store = Store.open(each)
        for round_ in range(10):
            store.live.promote({f"model{i}": str(round_), "shared": f"{i}.{round_}"}, {})
        store.close()

    threads = [threading.Thread(target=write, args=[i]) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store.open(each)
    live = store.live.all()
    store.close()
    assert all(live[f"model{i}"] == LiveRevision("9", "8") for i in range(8))
    assert live["shared"].last_good is not None
