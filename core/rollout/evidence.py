"""Compute the evidence against the candidate of a canary or a shadow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from core.bundle.metrics import ProportionEstimate
from core.rollout.sequential import (
    ACCURACY_ALPHA,
    ERRORS_ALPHA,
    MAX_PER_PERSON,
    SLOW_ALPHA,
    Blocks,
    block_sizes,
    combine_strata,
    log_evidence,
)
from core.store.end_reasons import EndReason
from core.store.feedback import NONE, right
from core.store.rollout_evidence import (
    AnswerSummary,
    Comparison,
    JudgedAnswer,
    RolloutEvidenceTable,
    TrafficCounts,
)
from core.store.rollouts import Rollout

__all__ = [
    "UNSURE",
    "CanaryEvidence",
    "ShadowEvidence",
    "TestEvidence",
    "canary_evidence",
    "lacks_answers",
    "shadow_evidence",
]

UNSURE = " (unsure)"
"""Follows the label of an unsure answer in the changes between two revisions."""

_MAX_CHANGES = 10
# Counts are stored every ten seconds, but a chat or a page may be quiet for a while.
_EXPECTED_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True)
class TestEvidence:
    """Result of one test of a canary.

    Attributes:
        test: `accuracy` (a wrong answer counts as a failure), `errors` or `slow`.
        candidate, live: Numbers of judged photos that either revision answered, or of its runs.
        candidate_failed, live_failed: Numbers of these photos or runs that failed.
        evidence: Value of the e-process against the candidate; 1 at the start.
        alarm_at: Evidence at which the candidate is rolled back.
    """

    __test__ = False  # otherwise pytest would collect this class, because of its name

    test: Literal["accuracy", "errors", "slow"]
    candidate: int
    candidate_failed: int
    live: int
    live_failed: int
    evidence: float
    alarm_at: float

    @property
    def is_alarm(self) -> bool:
        """Return whether the candidate is worse beyond chance."""
        return self.evidence >= self.alarm_at

    def reason(self) -> EndReason:
        """Return the reason to end the canary: its counts and the evidence."""
        values = asdict(self)
        return EndReason(f"worse_{values.pop('test')}", values)


@dataclass(frozen=True)
class CanaryEvidence:
    """Evidence about a canary.

    Attributes:
        tests: Results of the three tests.
        classes: Numbers of judged photos and wrong answers of either revision, by true label.
    """

    tests: tuple[TestEvidence, ...]
    classes: dict[str, dict[str, int]]

    @property
    def alarm(self) -> TestEvidence | None:
        """Return the first test that finds the candidate worse; None where none does."""
        return next((each for each in self.tests if each.is_alarm), None)

    @property
    def is_empty(self) -> bool:
        """Return whether no answer of the candidate has been counted."""
        return not any(each.candidate for each in self.tests)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class ShadowEvidence:
    """Evidence about a shadow.

    Attributes:
        photos: Number of photos that both revisions answered.
        failed: Number of photos that the candidate did not answer: errors and passed deadlines.
        agreement: Share of photos with the same label and verdict, by the live answer's label.
        changes: The most frequent changes: live answer, candidate's answer, number of photos. An
            answer is a label, followed by `UNSURE` where the verdict is `unsure`, or `none`.
        milliseconds: Median and 95th percentile of inference, by `live` and `candidate`. They are
            not comparable: the candidate runs at the lowest priority, on one thread and one photo.
        judged: Number of photos with feedback on the live answer.
        right: Share of these that each revision answered correctly, with its 95% interval.
        changed_right: Numbers of judged photos that only the `candidate`, or only the `live`
            revision, answered correctly.
        differences: Median, 5th and 95th percentile of the candidate's `confidence` and
            `known_score` minus the live revision's, on the same photos. Known scores are comparable
            if both revisions compute them by the same method.
    """

    photos: int
    failed: int
    agreement: dict[str, ProportionEstimate]
    changes: list[tuple[str, str, int]]
    milliseconds: dict[str, tuple[float, float]]
    judged: int
    right: dict[str, ProportionEstimate]
    changed_right: dict[str, int]
    differences: dict[str, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Return whether the candidate was given no photo."""
        return not self.photos and not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return asdict(self) | {
            "agreement": {label: each.model_dump() for label, each in self.agreement.items()},
            "right": {which: each.model_dump() for which, each in self.right.items()},
        }


def lacks_answers(rollout: Rollout, evidence: CanaryEvidence | ShadowEvidence) -> bool:
    """Return whether an active rollout has had time to count an answer, and has none.

    Then its candidate may not be installed where photos are answered: such a process continues with
    the live revision, and only its log says so.

    Args:
        rollout: The rollout.
        evidence: The evidence about it.
    """
    is_due = datetime.now(UTC) - rollout.began_at >= _EXPECTED_WITHIN
    return rollout.ended_at is None and is_due and evidence.is_empty


def canary_evidence(
    table: RolloutEvidenceTable, rollout: Rollout, labels: Collection[str]
) -> CanaryEvidence:
    """Compute the evidence about a canary.

    Args:
        table: The stored rollouts.
        rollout: The canary.
        labels: Labels of the model, which are the strata of the test together with `none`.

    Raises:
        StoreError: The database is not available.
    """
    judged = _limit_per_person(table.judged(rollout, [rollout.candidate, rollout.live]))
    traffic = table.traffic(rollout.number)
    classes = {
        label: _class_counts(rollout, [each for each in judged if each.truth == label])
        for label in (*labels, NONE)
    }
    return CanaryEvidence(
        (
            _test_accuracy(rollout, judged, list(classes)),
            _test_operation("errors", traffic, ERRORS_ALPHA),
            _test_operation("slow", traffic, SLOW_ALPHA),
        ),
        {label: counts for label, counts in classes.items() if any(counts.values())},
    )


def _limit_per_person(judged: Sequence[JudgedAnswer]) -> list[JudgedAnswer]:
    """Keep the first answers of each person for each class and revision.

    All anonymous judgements count as those of one person, since they may be.
    """
    counts: Counter[tuple[str | None, str, str]] = Counter()
    kept = []
    for each in judged:
        key = (each.person, each.truth, each.revision)
        counts[key] += 1
        if counts[key] <= MAX_PER_PERSON:
            kept.append(each)
    return kept


def _class_counts(rollout: Rollout, judged: Sequence[JudgedAnswer]) -> dict[str, int]:
    candidate = [each.right for each in judged if each.revision == rollout.candidate]
    live = [each.right for each in judged if each.revision == rollout.live]
    return {
        "candidate": len(candidate),
        "candidate_wrong": candidate.count(False),
        "live": len(live),
        "live_wrong": live.count(False),
    }


def _test_accuracy(
    rollout: Rollout, judged: Sequence[JudgedAnswer], labels: Sequence[str]
) -> TestEvidence:
    sizes = block_sizes(rollout.share)
    wrong: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)
    for each in judged:
        wrong[each.truth, each.revision].append(not each.right)
    strata = [
        log_evidence(_blocks(wrong[label, rollout.candidate], wrong[label, rollout.live], sizes))
        for label in labels
    ]
    all_candidate = [each.right for each in judged if each.revision == rollout.candidate]
    all_live = [each.right for each in judged if each.revision == rollout.live]
    return TestEvidence(
        "accuracy",
        len(all_candidate),
        all_candidate.count(False),
        len(all_live),
        all_live.count(False),
        _finite_exp(float(combine_strata(np.array(strata)))),
        1 / ACCURACY_ALPHA,
    )


def _blocks(candidate: Sequence[bool], live: Sequence[bool], sizes: tuple[int, int]) -> Blocks:
    """Divide the photos of a class into blocks, in order; incomplete blocks are left out."""
    n = min(len(candidate) // sizes[0], len(live) // sizes[1])
    failed = np.array(candidate[: n * sizes[0]], np.int64).reshape(n, sizes[0]).sum(axis=1)
    live_failed = np.array(live[: n * sizes[1]], np.int64).reshape(n, sizes[1]).sum(axis=1)
    return Blocks(np.full(n, sizes[0]), failed, np.full(n, sizes[1]), live_failed)


def _test_operation(
    test: Literal["errors", "slow"], traffic: Sequence[TrafficCounts], alpha: float
) -> TestEvidence:
    """Test errors or slow answers; each stored row of counts is one block."""
    rows = np.array(
        [
            (each.candidate, each.candidate_errors, each.live, each.live_errors)
            if test == "errors"
            else (each.candidate, each.candidate_slow, each.live, each.live_slow)
            for each in traffic
        ],
        np.int64,
    ).reshape(-1, 4)
    candidate, candidate_failed, live, live_failed = map(int, rows.sum(axis=0))
    evidence = _finite_exp(log_evidence(Blocks(*rows.T)))
    return TestEvidence(test, candidate, candidate_failed, live, live_failed, evidence, 1 / alpha)


def _finite_exp(value: float) -> float:
    # JSON cannot represent infinity, and 0 has no logarithm.
    return float(np.exp(np.clip(value, -700.0, 700.0)))


def shadow_evidence(table: RolloutEvidenceTable, rollout: Rollout) -> ShadowEvidence:
    """Compute the evidence about a shadow.

    Args:
        table: The stored rollouts.
        rollout: The shadow.

    Raises:
        StoreError: The database is not available.
    """
    comparisons = table.comparisons(rollout.number)
    truths = table.truths(rollout)
    agreed: defaultdict[str, list[bool]] = defaultdict(list)
    changes: Counter[tuple[str, str]] = Counter()
    for each in comparisons:
        before, after = _format_answer(each.live), _format_answer(each.candidate)
        agreed[each.live.label].append(before == after)
        if before != after:
            changes[before, after] += 1
    judged = [c for c in comparisons if c.answer in truths]
    is_right = {
        "live": [right(c.live.label, c.live.verdict, truths[c.answer]) for c in judged],
        "candidate": [
            right(c.candidate.label, c.candidate.verdict, truths[c.answer]) for c in judged
        ],
    }
    pairs = Counter(zip(is_right["candidate"], is_right["live"], strict=True))
    return ShadowEvidence(
        len(comparisons),
        sum(each.candidate_errors for each in table.traffic(rollout.number)),
        {
            label: ProportionEstimate.of(same.count(True), len(same))
            for label, same in sorted(agreed.items())
        },
        [(*change, n) for change, n in changes.most_common(_MAX_CHANGES)],
        {} if not comparisons else {which: _quantiles(comparisons, which) for which in is_right},
        len(judged),
        {
            which: ProportionEstimate.of(found.count(True), len(found))
            for which, found in is_right.items()
            if found
        },
        {"candidate": pairs[True, False], "live": pairs[False, True]},
        {} if not comparisons else _differences(comparisons),
    )


def _format_answer(answer: AnswerSummary) -> str:
    """Return an answer as in `ShadowEvidence.changes`."""
    if answer.verdict == NONE:
        return NONE
    return f"{answer.label}{UNSURE}" if answer.verdict == "unsure" else answer.label


def _differences(comparisons: Sequence[Comparison]) -> dict[str, tuple[float, float, float]]:
    found = {
        "confidence": [c.candidate.confidence - c.live.confidence for c in comparisons],
        "known_score": [c.candidate.known_score - c.live.known_score for c in comparisons],
    }
    quantiles = {name: np.quantile(values, [0.5, 0.05, 0.95]) for name, values in found.items()}
    return {name: (float(m), float(low), float(high)) for name, (m, low, high) in quantiles.items()}


def _quantiles(comparisons: Sequence[Comparison], which: str) -> tuple[float, float]:
    durations = [c.live.ms if which == "live" else c.candidate.ms for c in comparisons]
    median, p95 = np.quantile(durations, [0.5, 0.95])
    return float(median), float(p95)
