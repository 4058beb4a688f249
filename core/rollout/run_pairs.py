"""Pair the runs of both revisions of a canary, to compare their errors and durations."""

from __future__ import annotations

from collections import Counter
from typing import Literal, NamedTuple

__all__ = ["Run", "RunPairs"]


class Run(NamedTuple):
    """Outcome of one run of a model, which answers all photos of a batch.

    Attributes:
        failed: Whether it ended in an error.
        slow: Whether it took longer than `Rollout.slow_ms` for each photo.
    """

    failed: bool = False
    slow: bool = False


class RunPairs:
    """Pairs each run of one revision with the nearest run of the other one.

    All photos of a batch share one duration and one error, so a run is one trial, whatever their
    number. The two runs of a pair are neighbours in time and answer similar numbers of photos, and
    so meet the same conditions: load of the machine changes the failure rate from pair to pair, but
    not within one, which is all that the test of `core.rollout.sequential` assumes.
    """

    def __init__(self) -> None:
        self._unpaired: dict[tuple[int, str], Run] = {}

    def add(self, which: Literal["candidate", "live"], run: Run, photos: int) -> Counter[str]:
        """Add a run.

        Args:
            which: The revision.
            run: The run.
            photos: Number of photos that it answered, at least 1.

        Returns:
            Counts of the pair that it completes, by name of the field of `TrafficCounts`; empty
            where it has to wait for a run of the other revision.
        """
        # Batches of 1, 2 to 3, 4 to 7, ... photos are compared with each other.
        size = photos.bit_length()
        other = "live" if which == "candidate" else "candidate"
        partner = self._unpaired.pop((size, other), None)
        if partner is None:
            # It replaces an earlier one, so that the runs of a pair are neighbours in time.
            self._unpaired[size, which] = run
            return Counter()
        return _counts(which, run) + _counts(other, partner)


def _counts(which: str, run: Run) -> Counter[str]:
    return Counter(
        {which: 1, f"{which}_errors": int(run.failed), f"{which}_slow": int(run.slow)},
    )
