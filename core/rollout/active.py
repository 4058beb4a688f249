"""An active rollout of a serving process: its candidate, and the outcomes that it counts."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from core.errors import StoreError
from core.inference.classifier import Classifier
from core.rollout.run_pairs import Run, RunPairs
from core.rollout.shadow import MAX_UNSTORED, ShadowRunner
from core.store.rollout_evidence import Comparison, RolloutEvidenceTable, TrafficCounts
from core.store.rollouts import Rollout

__all__ = ["ActiveRollout", "RolloutStatus"]


@dataclass(frozen=True)
class RolloutStatus:
    """An active rollout as this process sees it.

    Attributes:
        rollout: The rollout.
        evidence: Evidence against the candidate of a canary, by test.
        photos: Copies of photos of a shadow in this process: `compared`, `failed`, `dropped`.
    """

    rollout: Rollout
    evidence: dict[str, float]
    photos: dict[str, int]


class ActiveRollout:
    """An active rollout of this process.

    Args:
        rollout: The rollout.
        shadow: The runner of a shadow.

    Attributes:
        rollout, shadow: The same.
        candidate: The candidate's classifier, for a canary.
        has_failed: Whether the candidate of a canary has failed, which is reported once.
        stopped: Reason for which its engine has stopped; None while it runs.
        stops: How often its engine has stopped.
        evidence: See `RolloutStatus`.
    """

    def __init__(self, rollout: Rollout, shadow: ShadowRunner | None = None) -> None:
        self.rollout = rollout
        self.shadow = shadow
        self.candidate: Classifier | None = None
        self.has_failed = False
        self.stopped: str | None = None
        self.stops = 0
        self.evidence: dict[str, float] = {}
        self._photos: Counter[str] = Counter()
        self._lock = threading.Lock()
        # Runs of a canary that wait for one to be compared with.
        self._pairs = RunPairs()
        # Not stored yet: counts by name of the field of `TrafficCounts`, and comparisons of a
        # shadow, of which the oldest ones are dropped.
        self._counts: Counter[str] = Counter()
        self._comparisons: deque[Comparison] = deque(maxlen=MAX_UNSTORED)

    @property
    def status(self) -> RolloutStatus:
        """Its state for fronts and metrics."""
        return RolloutStatus(self.rollout, dict(self.evidence), dict(self._photos))

    def use(self, candidate: Classifier) -> None:
        """Let the candidate of a canary answer."""
        self.candidate = candidate
        self.stopped = None  # at last: from now on it answers

    def note_stop(self, reason: str) -> None:
        """Let the live revision answer, since the candidate's engine has stopped."""
        self.stops += 1
        self.stopped = reason  # at last: `Rollouts.refresh` acts on it

    def count_run(self, classifier: Classifier, run: Run, photos: int) -> None:
        """Count a run of either revision of a canary; runs of others are ignored.

        Args:
            classifier: The classifier that ran.
            run: The run.
            photos: Number of photos that it was given.
        """
        rollout = self.rollout
        if rollout.kind != "canary":
            return
        with self._lock:
            if classifier.revision == rollout.candidate:
                self._counts.update(self._pairs.add("candidate", run, photos))
            elif classifier.revision == rollout.live:
                self._counts.update(self._pairs.add("live", run, photos))

    def store(self, table: RolloutEvidenceTable) -> None:
        """Store what was counted; what cannot be stored is kept.

        Raises:
            StoreError: The database is not available.
        """
        if self.shadow is not None:
            done, failed, dropped = self.shadow.collect()
            self._comparisons.extend(done)
            self._photos.update(compared=len(done), failed=failed, dropped=dropped)
            if n := len(done) + failed:
                self._counts.update(candidate=n, candidate_errors=failed, live=n)
        if self._comparisons:
            table.add_comparisons(self.rollout.number, list(self._comparisons))
            self._comparisons.clear()
        with self._lock:
            counted, self._counts = self._counts, Counter()
        if not counted:
            return
        try:
            table.add_traffic(self.rollout.number, TrafficCounts(**counted))
        except StoreError:
            with self._lock:
                self._counts.update(counted)
            raise

    def close(self) -> None:
        """Stop a shadow's runner."""
        if self.shadow is not None:
            self.shadow.close()
