from __future__ import annotations

from contextlib import closing

from core.settings import Settings
from core.store.store import Store

BOT, OTHER = 2**33, 7


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
            gone.audit.begin(BOT, "me", act)
        gone.audit.finish(gone.audit.begin(BOT, "me", "rollback a"), "done")
        theirs = gone.audit.begin(OTHER, "you", "pull v1")  # goes on
    with closing(Store.open(each)) as store:
        ended = store.audit.finish_all(BOT, lambda act: f"nobody saw {act} end")
        assert [(act.operator, act.act) for act in ended] == [
            ("me", "pull v1"),
            ("me", "promote a 1"),
        ]
        assert store.audit.finish_all(BOT, str) == [], "commands are finished once"
        store.audit.finish(theirs, "done")
        assert store.audit.finish_all(OTHER, str) == []
        assert [(act.act, act.outcome) for act in store.audit.recent(4)] == [
            ("pull v1", "done"),
            ("promote a 1", "nobody saw promote a 1 end"),
            ("pull v1", "nobody saw pull v1 end"),
            ("pull v1", "begun"),
        ]
