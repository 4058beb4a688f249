"""Results of the comparison of a day's photos with a reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ALARM_P", "MIN_CHANGE", "BinGroup", "Difference", "DriftReport"]

ALARM_P = 0.00001
"""p-value below which a difference is an alarm.

It is low enough for one look an hour: simulated days without drift raise an alarm in less than 0.5%
of cases, see docs/ROLLOUT.md.
"""

MIN_CHANGE = 0.1
"""Smallest `Difference.change` that raises an alarm."""


@dataclass(frozen=True)
class BinGroup:
    """Bins of a histogram that are compared as one.

    Attributes:
        bins: Names of the bins, in ascending order where they are numbers.
        share, reference_share: Shares of the photos in them, of the day and of the reference.
    """

    bins: tuple[str, ...]
    share: float
    reference_share: float

    @property
    def change(self) -> float:
        """Difference of the two shares, without its sign."""
        return abs(self.share - self.reference_share)


@dataclass(frozen=True)
class Difference:
    """Difference between the histograms of a day and of a reference.

    Attributes:
        n, reference_n: Numbers of photos.
        change: Total variation distance, 0 to 1: the share of photos that would have to change
            their bin to make the histograms equal.
        p: p-value of the corrected chi-squared test; 1 where there is too little to compare, see
            `core.rollout.drift.compare`.
        largest: Name of the bin, or group of bins, whose share changed most.
        groups: The groups of bins that were compared, ascending where bins are numbers; none where
            there is too little to compare.
    """

    n: int
    reference_n: int
    change: float
    p: float
    largest: str
    groups: tuple[BinGroup, ...] = ()

    @property
    def is_alarm(self) -> bool:
        """Return whether the difference is beyond chance, and large enough to matter."""
        return self.p < ALARM_P and self.change >= MIN_CHANGE

    @property
    def most_changed(self) -> list[BinGroup]:
        """Return the groups in descending order of change."""
        return sorted(self.groups, key=lambda group: -group.change)

    @property
    def is_higher(self) -> bool:
        """Return whether the day's values are higher on the whole, where bins are numbers."""
        return sum(i * (g.share - g.reference_share) for i, g in enumerate(self.groups)) > 0


@dataclass(frozen=True)
class DriftReport:
    """Drift of one revision.

    Attributes:
        model, revision: The revision.
        month: Differences of the last day from the 30 days before it, by `labels`, `known_scores`
            and `confidences`.
        validation: Differences from the validation set, whose known scores are not stored. They
            raise no alarm: what people send differs from a data set from the first day on.
    """

    model: str
    revision: str
    month: dict[str, Difference]
    validation: dict[str, Difference]

    @property
    def alarms(self) -> list[str]:
        """Names of the statistics that differ from the month before beyond chance."""
        return [name for name, each in self.month.items() if each.is_alarm]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return asdict(self) | {"alarms": self.alarms}
