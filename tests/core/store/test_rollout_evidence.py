from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pytest
import sqlalchemy as sa

from core.rollout.evidence import canary_evidence
from core.rollout.sequential import Blocks, average_alternatives, log_factors
from core.settings import Settings
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback, StoredAnswer
from core.store.rollout_evidence import TrafficCounts, answer_digest
from core.store.store import Store
from core.store.tables import COMPARISONS, TRAFFIC
from tests.support.stored_rollouts import SCORES, begin, comparison


def test_evidence_is_stored_in_order(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        counts = [TrafficCounts(candidate=5, live=45), TrafficCounts(live=2, live_errors=1)]
        for count in counts:
            store.rollout_evidence.add_traffic(rollout.number, count)
        assert store.rollout_evidence.traffic(rollout.number) == counts
        store.rollout_evidence.add_comparisons(rollout.number, [comparison("x"), comparison("y")])
        assert [c.answer for c in store.rollout_evidence.comparisons(rollout.number)] == ["x", "y"]
        assert store.rollout_evidence.traffic(99) == []
        assert store.rollout_evidence.comparisons(99) == []


def test_judged_answers_are_those_of_the_rollout(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        said = [Feedback("bot", "a", r, "cat", "known", SCORES, "cat", "me") for r in "123"]
        store.feedback.add(said[0])
        rollout = begin(store)
        for feedback in said:
            store.feedback.add(feedback)
        wrong = Feedback("page", "a", "2", "cat", "known", SCORES, "dog")
        store.feedback.add(wrong)
        found = store.rollout_evidence.judged(rollout, ["1", "2"])
        assert [(j.revision, j.person, j.truth, j.right) for j in found] == [
            ("1", "me", "cat", True),
            ("2", "me", "cat", True),
            ("2", None, "dog", False),
        ]
        assert store.rollout_evidence.truths(rollout) == {answer_digest("a", "1", SCORES): "cat"}


def test_answer_is_recognised_after_a_round_trip(each: Settings) -> None:
    scores = {f"label {i}": 1 / (3 + i) for i in range(300)}
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.feedback.add(Feedback("bot", "a", "1", "label 0", "known", scores, "label 0"))
        (found,) = store.rollout_evidence.truths(rollout)
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
        store.rollout_evidence.add_comparisons(rollout.number, [comparison(d) for d in digests])
        store.chats.forget("me", set())
        left = store.rollout_evidence.comparisons(rollout.number)
    assert [each.answer for each in left] == [digests[2]]


def test_forget_deletes_comparisons_of_answers_that_are_not_stored(each: Settings) -> None:
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        store.shadow_senders.add("me", ["mine", "mine, later"])
        store.shadow_senders.add("you", ["other"])
        store.rollout_evidence.add_comparisons(
            rollout.number, [comparison("mine"), comparison("other")]
        )
        store.chats.forget("me", set())
        late = [comparison("mine, later"), comparison("other, later")]
        store.rollout_evidence.add_comparisons(rollout.number, late)
        left = store.rollout_evidence.comparisons(rollout.number)
    assert [each.answer for each in left] == ["other", "other, later"]


def stored_rows(store: Store) -> int:
    with store.database.read() as connection:
        return len(connection.execute(sa.select(TRAFFIC.c.id)).all())


def test_canary_counts_are_compacted_without_changing_the_evidence(each: Settings) -> None:
    rows = [TrafficCounts(4, i % 2, 1, 4, 0, 1) for i in range(6)] + [TrafficCounts(8, 1, 2, 2)]
    with closing(Store.open(each)) as store:
        rollout = begin(store)
        for row in rows:
            store.rollout_evidence.add_traffic(rollout.number, row)
        before = canary_evidence(store.rollout_evidence, rollout, ["cat"])
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert stored_rows(store) == 2
        store.rollout_evidence.add_traffic(rollout.number, TrafficCounts())
        assert canary_evidence(store.rollout_evidence, rollout, ["cat"]) == before
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
            store.rollout_evidence.add_traffic(rollout.number, counts)
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
        store.rollout_evidence.add_comparisons(rollout.number, [comparison("x")])
        store.purge_before(datetime.now(UTC) - timedelta(days=1))
        assert store.rollout_evidence.comparisons(rollout.number)
        store.purge_before(datetime.now(UTC) + timedelta(days=1))
        assert not store.rollout_evidence.comparisons(rollout.number)


def test_comparisons_keep_no_photo_and_no_person() -> None:
    assert set(COMPARISONS.c.keys()) == {"id", "rollout", "at", "answer", "live", "candidate"}
