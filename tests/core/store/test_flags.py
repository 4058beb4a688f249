"""Flags that operators set."""

from __future__ import annotations

from contextlib import closing

from core.settings import Settings
from core.store.store import Store


def test_flag_is_off_until_it_is_set_and_outlives_its_process(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        assert not store.flags.get("maintenance")
        store.flags.set("maintenance", on=True)
        store.flags.set("other", on=False)
    with closing(Store.open(each)) as store:
        assert store.flags.get("maintenance")
        store.flags.set("maintenance", on=False)
        assert not store.flags.get("maintenance")
