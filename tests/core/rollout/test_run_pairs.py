from __future__ import annotations

from collections import Counter

from core.rollout.run_pairs import Run, RunPairs


def test_run_counts_once_it_has_a_partner() -> None:
    pairs = RunPairs()
    assert pairs.add("live", Run(slow=True), photos=1) == Counter()
    assert pairs.add("candidate", Run(failed=True), photos=1) == Counter(
        candidate=1, candidate_errors=1, live=1, live_slow=1
    )
    assert pairs.add("candidate", Run(), photos=1) == Counter(), "a run is in one pair only"


def test_latest_run_is_paired() -> None:
    pairs = RunPairs()
    pairs.add("live", Run(slow=True), photos=1)
    pairs.add("live", Run(), photos=1)
    assert pairs.add("candidate", Run(), photos=1)["live_slow"] == 0


def test_runs_of_other_batch_sizes_are_not_compared() -> None:
    pairs = RunPairs()
    pairs.add("live", Run(), photos=1)
    assert not pairs.add("candidate", Run(), photos=2)
    assert pairs.add("live", Run(), photos=3), "2 and 3 photos are similar"
