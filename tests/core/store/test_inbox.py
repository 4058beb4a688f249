from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

from core.settings import Settings
from core.store.store import Store

CHAT, BOT, OTHER = 2**40, 2**33, 7
OWNER = "a" * 32


def test_updates_are_stored_once_until_they_are_finished(each: Settings) -> None:
    store = Store.open(each)
    rows = [(2**35, CHAT, "{}"), (3, CHAT, '{"a": "\\u0000"}'), (5, None, "x")]
    assert store.inbox.receive(BOT, rows, OWNER) == {2**35, 3, 5}
    assert store.inbox.receive(BOT, [*rows, (4, CHAT, "y")], OWNER) == {2**35, 3, 4, 5}, (
        "unfinished updates were dropped"
    )
    assert store.inbox.receive(OTHER, rows[:1], OWNER) == {2**35}, "bots share an inbox"
    assert store.inbox.receive(BOT, []) == set()
    assert [number for number, _ in store.inbox.waiting(BOT)] == [3, 4, 5, 2**35]
    assert store.inbox.waiting(BOT)[0][1] == rows[1][2]
    store.inbox.finish(BOT, [3, 2**35])
    assert [number for number, _ in store.inbox.waiting(BOT)] == [4, 5]
    assert store.inbox.receive(BOT, rows, OWNER) == {5}, "a finished update was received again"
    store.purge_before(datetime.now(UTC) + timedelta(days=1))
    assert store.inbox.waiting(BOT) == [], "expired updates were kept"
    store.close()


def test_attempts_are_counted_until_they_end(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        store.lanes.renew(BOT, OWNER, 600)
        store.inbox.receive(BOT, [(1, CHAT, "{}"), (2, CHAT, "{}"), (3, CHAT, "{}")], OWNER)
        store.inbox.receive(OTHER, [(1, CHAT, "{}")], OWNER)
        assert store.inbox.unsettled(BOT) == set()
        assert [store.inbox.begin(BOT, [1], 2, OWNER) for _ in range(4)] == [0, 1, 2, 2]
        assert store.inbox.begin(BOT, [1, 2], 2, OWNER) == 2, (
            "an album has the attempts of its worst item"
        )
        assert store.inbox.begin(BOT, [3], 2, OWNER) == 0
        assert store.inbox.unsettled(BOT) == {1, 3}
        assert store.inbox.unsettled(OTHER) == set()
        store.inbox.settle(BOT, [3], "b" * 32)
        assert store.inbox.unsettled(BOT) == {1, 3}, "they belong to another process"
        store.inbox.settle(BOT, [3], OWNER)
        store.inbox.finish(BOT, [1])
        assert store.inbox.begin(BOT, [1], 2, OWNER) is None, "it is finished"
        assert store.inbox.unsettled(BOT) == set()
        assert store.inbox.begin(BOT, [3], 2, OWNER) == 0
