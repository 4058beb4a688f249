from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial

import pytest

from core.errors import StoreError
from core.settings import Settings
from core.store.audit import AuditEntry
from core.store.end_reasons import BY_HAND
from core.store.store import Store

BOT, OTHER = 2**33, 7
OWNER, DEAD = "a" * 32, "d" * 32


def test_flags_and_commands_of_operators_are_stored(each: Settings) -> None:
    store = Store.open(each)
    assert not store.flags.get("maintenance")
    for on in (True, False, True):
        store.flags.set("maintenance", on=on)
        assert store.flags.get("maintenance") is on
    for act in ("pull", "promote"):
        store.audit.record("me", act, "done")
    assert [act.act for act in store.audit.recent(9)] == ["promote", "pull"]
    assert [act.act for act in store.audit.recent(1)] == ["promote"]
    assert store.audit.recent(1)[0].at.tzinfo is not None
    store.close()


def test_interrupted_commands_are_finished_by_the_next_process(each: Settings) -> None:
    with closing(Store.open(each)) as gone:
        for act in ("pull v1", "promote a 1"):
            gone.audit.begin(BOT, DEAD, "me", act)
        gone.audit.finish(gone.audit.begin(BOT, DEAD, "me", "rollback a"), "done")
        theirs = gone.audit.begin(OTHER, DEAD, "you", "pull v1")  # goes on
    with closing(Store.open(each)) as store:
        ended = store.audit.finish_all(BOT, OWNER, lambda act: f"nobody saw {act} end", alone=True)
        assert [(act.operator, act.act) for act in ended] == [
            ("me", "pull v1"),
            ("me", "promote a 1"),
        ]
        assert store.audit.finish_all(BOT, OWNER, str, alone=True) == [], (
            "commands are finished once"
        )
        store.audit.finish(theirs, "done")
        assert store.audit.finish_all(OTHER, OWNER, str, alone=True) == []
        assert [(act.act, act.outcome) for act in store.audit.recent(4)] == [
            ("pull v1", "done"),
            ("promote a 1", "nobody saw promote a 1 end"),
            ("pull v1", "nobody saw pull v1 end"),
            ("pull v1", "begun"),
        ]


def test_commands_of_living_processes_go_on(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        living = "b" * 32
        store.lanes.renew(BOT, living, 600)
        for owner in (OWNER, living, DEAD):
            store.audit.begin(BOT, owner, "me", f"pull {owner[0]}")
        ended = store.audit.finish_all(BOT, OWNER, str, alone=False)
        assert [entry.act for entry in ended] == ["pull d"]


@pytest.mark.parametrize("command", ["begin", "end", "promote", "roll back"])
def test_command_that_cannot_be_recorded_changes_nothing(settings: Settings, command: str) -> None:
    entry = AuditEntry.now("me", command, "done")
    with closing(Store.open(settings)) as store:
        store.live.promote({"a": "1"}, {})
        store.live.promote({"a": "2"}, {})
        begin = partial(store.rollouts.begin, "a", "canary", candidate="3", live="2", share=0.5)
        rollout = begin(slow_ms=9.0) if command != "begin" else None
        runs: dict[str, Callable[[], object]] = {
            "begin": partial(begin, slow_ms=9.0, audit=entry),
            "end": partial(store.rollouts.end, 1, "stopped", BY_HAND, audit=entry),
            "promote": partial(store.live.promote, {"a": "3"}, {}, operator="me"),
            "roll back": partial(store.live.roll_back, "a", operator="me"),
        }
        run = runs[command]
        refuse = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        with store.database.write() as connection:
            connection.exec_driver_sql(f"CREATE TRIGGER full BEFORE INSERT ON audit {refuse}")
        with pytest.raises(StoreError, match="the disk is full"):
            run()
        assert store.rollouts.active() == ([] if rollout is None else [rollout])
        assert store.live.all()["a"].revision == "2"
        with store.database.write() as connection:
            connection.exec_driver_sql("DROP TRIGGER full")
        run()
        (latest,) = store.audit.recent(1)
        assert latest.operator == "me"
