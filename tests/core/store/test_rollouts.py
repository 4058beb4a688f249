from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

import numpy as np
import pytest
import sqlalchemy as sa

from core.bundle.folder import BUNDLED
from core.errors import ChangedError, StoreError
from core.rollout.control import end_rollout
from core.rollout.evidence import canary_evidence
from core.rollout.sequential import Blocks, average_alternatives, log_factors
from core.settings import Settings
from core.store.audit import AuditEntry
from core.store.end_reasons import BY_HAND, EndReason
from core.store.feedback import Feedback, StoredAnswer
from core.store.live import LiveRevision, ShownState
from core.store.rollouts import (
    AUTOMATIC,
    AnswerSummary,
    Comparison,
    Rollout,
    TrafficCounts,
    answer_digest,
)
from core.store.store import Store
from core.store.tables import COMPARISONS, ROLLOUTS, TRAFFIC

SCORES = {"cat": 0.9, "dog": 0.1}


def begin(store: Store, model: str = "a") -> Rollout:
    return store.rollouts.begin(model, "canary", candidate="2", live="1", share=0.1, slow_ms=20.0)


def entry_of(act: str, outcome: str) -> AuditEntry:
    return AuditEntry.now(AUTOMATIC, act, outcome)


def comparison(answer: str) -> Comparison:
    said = AnswerSummary("cat", "known", 0.9, 0.8, 3.0)
    return Comparison(answer, said, said)


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


def test_evidence_is_stored_in_order(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        counts = [TrafficCounts(candidate=5, live=45), TrafficCounts(live=2, live_errors=1)]
        for count in counts:
            store.rollouts.add_traffic(rollout.number, count)
        assert store.rollouts.traffic(rollout.number) == counts
        store.rollouts.add_comparisons(rollout.number, [comparison("x"), comparison("y")])
        assert [c.answer for c in store.rollouts.comparisons(rollout.number)] == ["x", "y"]
        assert store.rollouts.traffic(99) == []
        assert store.rollouts.comparisons(99) == []


def test_judged_answers_are_those_of_the_rollout(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        said = [Feedback("bot", "a", r, "cat", "known", SCORES, "cat", "me") for r in "123"]
        store.feedback.add(said[0])
        rollout = begin(store)
        for feedback in said:
            store.feedback.add(feedback)
        wrong = Feedback("page", "a", "2", "cat", "known", SCORES, "dog")
        store.feedback.add(wrong)
        found = store.rollouts.judged(rollout, ["1", "2"])
        assert [(j.revision, j.person, j.truth, j.right) for j in found] == [
            ("1", "me", "cat", True),
            ("2", "me", "cat", True),
            ("2", None, "dog", False),
        ]
        assert store.rollouts.truths(rollout) == {answer_digest("a", "1", SCORES): "cat"}


def test_answer_is_recognised_after_a_round_trip(each: Settings) -> None:
    scores = {f"label {i}": 1 / (3 + i) for i in range(300)}
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.feedback.add(Feedback("bot", "a", "1", "label 0", "known", scores, "label 0"))
        (found,) = store.rollouts.truths(rollout)
    assert found == answer_digest("a", "1", scores)
    assert found != answer_digest("a", "2", scores)


def test_forget_deletes_comparisons_of_the_users_photos(each: Settings) -> None:
    mine, other = {"cat": 0.6, "dog": 0.4}, {"cat": 0.7, "dog": 0.3}
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        answer = StoredAnswer("me", "file", "a", "1", "cat", "known", mine)
        store.feedback.add_answer("k", answer)
        store.feedback.add(Feedback("bot", "a", "1", "cat", "known", SCORES, "cat", "me"))
        digests = [answer_digest("a", "1", scores) for scores in (mine, SCORES, other)]
        store.rollouts.add_comparisons(rollout.number, [comparison(d) for d in digests])
        store.chats.forget("me", set())
        left = store.rollouts.comparisons(rollout.number)
    assert [each.answer for each in left] == [digests[2]]


def test_forget_deletes_comparisons_of_answers_that_are_not_stored(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.shadow_senders.add("me", ["mine", "mine, later"])
        store.shadow_senders.add("you", ["other"])
        store.rollouts.add_comparisons(rollout.number, [comparison("mine"), comparison("other")])
        store.chats.forget("me", set())
        late = [comparison("mine, later"), comparison("other, later")]
        store.rollouts.add_comparisons(rollout.number, late)
        left = store.rollouts.comparisons(rollout.number)
    assert [each.answer for each in left] == ["other", "other, later"]


def test_only_answers_of_a_shadowed_model_are_compared(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        begin(store, "canary")
        assert not store.shadow_senders.are_compared(["canary", "other"])
        shadow = store.rollouts.begin(
            "a", "shadow", candidate="2", live="1", share=1.0, slow_ms=9.0
        )
        assert store.shadow_senders.are_compared(["other", "a"])
        store.rollouts.end(shadow.number, "stopped", BY_HAND)
        assert store.shadow_senders.are_compared(["a"]), "answers of before are still compared"
        with store.database.write() as connection:
            long_ago = datetime.now(UTC) - timedelta(hours=2)
            connection.execute(sa.update(ROLLOUTS).values(ended_at=long_ago))
        assert not store.shadow_senders.are_compared(["a"])


def stored_rows(store: Store) -> int:
    with store.database.read() as connection:
        return len(connection.execute(sa.select(TRAFFIC.c.id)).all())


def test_canary_counts_are_compacted_without_changing_the_evidence(each: Settings) -> None:
    rows = [TrafficCounts(4, i % 2, 1, 4, 0, 1) for i in range(6)] + [TrafficCounts(8, 1, 2, 2)]
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        for row in rows:
            store.rollouts.add_traffic(rollout.number, row)
        before = canary_evidence(store.rollouts, rollout, ["cat"])
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert stored_rows(store) == 2
        store.rollouts.add_traffic(rollout.number, TrafficCounts())
        assert canary_evidence(store.rollouts, rollout, ["cat"]) == before
        one_by_one = sum(log_factors(_blocks(row)) for row in rows)
        assert before.tests[1].evidence == pytest.approx(
            np.exp(average_alternatives(np.asarray(one_by_one)))
        )


def _blocks(row: TrafficCounts) -> Blocks:
    counts = (row.candidate, row.candidate_errors, row.live, row.live_errors)
    return Blocks(*(np.array(n) for n in counts))


@pytest.mark.parametrize(("kind", "left"), [("shadow", 0), ("canary", 2)])
def test_counts_of_an_ended_rollout_are_purged(
    each: Settings, kind: Literal["shadow", "canary"], left: int
) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    with closing(Store.open(each)) as store:
        rollout = store.rollouts.begin("a", kind, candidate="2", live="1", share=0.5, slow_ms=20.0)
        for failed in (0, 1):
            counts = TrafficCounts(candidate=5 + failed, candidate_errors=failed, live=5)
            store.rollouts.add_traffic(rollout.number, counts)
        store.rollouts.end(rollout.number, "stopped", BY_HAND)
        with store.database.write() as connection:
            connection.execute(sa.update(TRAFFIC).values(at=now - 9 * day))
        store.purge_before(now - 7 * day)
        assert stored_rows(store) == left, "a canary needs the counts since its start"
        store.purge_before(now + day)
        assert stored_rows(store) == 0
        assert store.rollouts.latest("a"), "numbers of rollouts are not used twice"


def test_old_comparisons_are_purged(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.rollouts.add_comparisons(rollout.number, [comparison("x")])
        store.purge_before(datetime.now(UTC) - timedelta(days=1))
        assert store.rollouts.comparisons(rollout.number)
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert not store.rollouts.comparisons(rollout.number)


def test_comparisons_keep_no_photo_and_no_person() -> None:
    assert set(COMPARISONS.c.keys()) == {"id", "rollout", "at", "answer", "live", "candidate"}
