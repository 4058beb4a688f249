from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial

import pytest

from core.bundle.folder import BUNDLED
from core.errors import ChangedError, StoreError
from core.rollout.control import end_rollout
from core.settings import Settings
from core.store.audit import AuditEntry
from core.store.end_reasons import BY_HAND, EndReason
from core.store.live import LiveRevision, ShownState
from core.store.rollouts import AUTOMATIC
from core.store.store import Store
from tests.support.stored_rollouts import begin


def entry_of(act: str, outcome: str) -> AuditEntry:
    return AuditEntry.now(AUTOMATIC, act, outcome)


def test_one_rollout_of_a_model_is_active_at_a_time(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        first, other = begin(store), begin(store, "b")
        with pytest.raises(StoreError, match=r"active already\. End it first: `tensight canary a"):
            begin(store)
        assert store.rollouts.active() == [first, other]
        assert store.rollouts.end(
            first.number, "rolled_back", BY_HAND, audit=entry_of("canary a 2", "worse")
        )
        assert not store.rollouts.end(first.number, "stopped", BY_HAND)
        assert begin(store).number != first.number
        (entry,) = store.audit.recent(5)
        assert (entry.operator, entry.act, entry.outcome) == (AUTOMATIC, "canary a 2", "worse")


def test_promotion_ends_the_rollout_in_its_transaction(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        store.live.promote({"a": "1", "b": "1"}, {})
        begin(store), begin(store, "b")
        store.live.promote({"a": "1"}, {})
        assert len(store.rollouts.active()) == 2, "nothing has changed"
        store.live.promote({"a": "2", "b": "3"}, {})
        ended = [store.rollouts.latest(model) for model in ("a", "b")]
        assert [each.outcome for each in ended if each] == ["promoted", "superseded"]
        store.rollouts.begin("a", "canary", candidate="3", live="2", share=0.1, slow_ms=9.0)
        store.live.roll_back("a")
        assert store.rollouts.active() == []
        entries = [(each.operator, each.act, each.outcome) for each in store.audit.recent(9)]
        assert entries == [
            (AUTOMATIC, "canary a 3", "superseded: 1 was made live"),
            (AUTOMATIC, "canary b 2", "superseded: 3 was made live"),
        ], "the operator of a promotion knows of its candidate"


@pytest.mark.parametrize("way", ["promoted", "bundled"])
def test_rollout_against_a_revision_that_is_not_live_is_refused(each: Settings, way: str) -> None:
    bundled = {"a": "9" * 12}
    with closing(Store.open(each)) as store:
        if way == "promoted":
            store.live.promote({"a": "3"}, bundled)
        begin = partial(store.rollouts.begin, "a", "canary", candidate="2", share=0.1, slow_ms=9.0)
        with pytest.raises(StoreError, match=r"is live, not 1\. Another revision was promoted"):
            begin(live="1", bundled=bundled["a"])
        assert store.rollouts.active() == []
        begin(live="3" if way == "promoted" else bundled["a"], bundled=bundled["a"])


def test_rollout_and_promotion_at_once_leave_one_state(each: Settings) -> None:
    with closing(Store.open(each)) as store, ThreadPoolExecutor(2) as threads:
        for i in range(10):
            live, other = f"{i:x}" * 12, f"{i + 1:x}" * 12
            store.live.promote({"a": live}, {})
            begin = partial(store.rollouts.begin, "a", "canary", candidate="c" * 12, live=live)
            beginning = threads.submit(begin, share=0.1, slow_ms=9.0)
            promoting = threads.submit(store.live.promote, {"a": other}, {})
            promoting.result()
            with suppress(StoreError):
                beginning.result()
            assert store.rollouts.active() == [], "no rollout against what is no longer live"


@pytest.mark.parametrize(
    ("candidate", "outcome"), [("2" * 12, "promoted"), ("3" * 12, "superseded")]
)
@pytest.mark.parametrize("way", ["promotion", "rollback"])
def test_promoted_bundled_revision_ends_its_own_rollout_as_promoted(
    each: Settings, candidate: str, outcome: str, way: str
) -> None:
    bundled = {"a": "2" * 12}
    with closing(Store.open(each)) as store:
        store.live.promote({"a": "1"}, bundled)
        store.rollouts.begin("a", "canary", candidate=candidate, live="1", share=0.1, slow_ms=9.0)
        if way == "promotion":
            store.live.promote({"a": BUNDLED}, bundled)
        else:
            assert store.live.roll_back("a", bundled["a"]).revision == BUNDLED
        ended = store.rollouts.latest("a")
        assert ended is not None
        assert (ended.outcome, ended.reason) == (outcome, "bundled was made live")
        assert ended.cause == EndReason("made_live", {"revision": "bundled"})


def test_promotion_is_refused_if_the_rollout_has_ended(
    each: Settings,
) -> None:
    with closing(Store.open(each)) as store:
        store.live.promote({"a": "1"}, {})
        first = begin(store)
        shown = ShownState(rollout=first.number)
        store.rollouts.end(first.number, "rolled_back", BY_HAND)
        with pytest.raises(ChangedError, match=r"The canary of a 2 has ended in the meantime\. "):
            store.live.promote({"a": "2"}, {}, shown=shown)
        second = begin(store)
        with pytest.raises(ChangedError, match=r", and a canary of 2 is active now\. Nothing"):
            store.live.promote({"a": "2"}, {}, shown=shown)
        assert store.rollouts.active() == [second]
        assert store.live.all()["a"].revision == "1"
        shown = ShownState("1", second.number)
        for _ in range(2):  # repeated after a crash
            store.live.promote({"a": "2"}, {}, shown=shown)
        assert store.live.all()["a"].revision == "2"
        with pytest.raises(ChangedError, match="2 of a was made live in the meantime, in place"):
            store.live.promote({"a": "3"}, {}, shown=ShownState("1"))


def test_rollback_is_refused_if_another_revision_went_live(
    each: Settings,
) -> None:
    with closing(Store.open(each)) as store:
        for revision in "12":
            store.live.promote({"a": revision}, {})
        shown = store.live.all()["a"]
        assert store.live.roll_back("a", expected=shown) == LiveRevision("1", "2")
        with pytest.raises(ChangedError, match="was not made: another revision was promoted"):
            store.live.roll_back("a", expected=shown)


def test_rollout_that_was_shown_ends_by_its_number(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        first = begin(store)
        end = partial(end_rollout, store, "a", "canary", number=first.number)
        assert end() == first
        second = begin(store)
        with pytest.raises(ChangedError, match="and a canary of 2 is active now"):
            end()
        assert store.rollouts.active() == [second]


def test_promotion_of_the_live_bundled_revision_ends_no_rollout(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        begin(store)
        store.live.promote({"a": BUNDLED}, {"a": "1"})
        assert len(store.rollouts.active()) == 1
