from __future__ import annotations

from contextlib import closing

from core.settings import Settings
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
