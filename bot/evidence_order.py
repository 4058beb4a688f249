"""Order the classes of a rollout's evidence by what they say about its candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.bundle.metrics import ProportionEstimate

__all__ = ["by_disagreement", "by_mistakes", "is_tiny"]

_MIN_PHOTOS = 5


def is_tiny(n: int) -> bool:
    """Return whether a number of photos says next to nothing about a share."""
    return n < _MIN_PHOTOS


def by_disagreement(
    agreement: Mapping[str, ProportionEstimate],
) -> list[tuple[str, ProportionEstimate]]:
    """Sort classes by how often both revisions disagree beyond doubt; tiny ones come last.

    Args:
        agreement: Share of the photos with the same answer, by label.
    """
    return sorted(
        agreement.items(),
        # The share of changed answers is at least 1 - high.
        key=lambda each: (is_tiny(each[1].n), each[1].high, -each[1].n, each[0]),
    )


def by_mistakes(classes: Mapping[str, Mapping[str, int]]) -> list[tuple[str, Mapping[str, int]]]:
    """Sort classes by how clearly the candidate is worse than the live revision; tiny ones last.

    Args:
        classes: Numbers of judged photos and wrong answers of either revision, by true label, as
            in `CanaryEvidence`.
    """

    def key(each: tuple[str, Mapping[str, int]]) -> tuple[bool, float, int, str]:
        label, counts = each
        n = min(counts["candidate"], counts["live"])
        return is_tiny(n), -_difference(counts), -counts["candidate"] - counts["live"], label

    return sorted(classes.items(), key=key)


def _difference(counts: Mapping[str, int]) -> float:
    """Return the difference of the two shares of wrong answers, in standard errors."""
    shares, variance = {}, 0.0
    for which in ("candidate", "live"):
        # One right and one wrong answer more (Agresti and Caffo, 2000), so that few photos weigh
        # little.
        n = counts[which] + 2
        shares[which] = share = (counts[f"{which}_wrong"] + 1) / n
        variance += share * (1 - share) / n
    return (shares["candidate"] - shares["live"]) / math.sqrt(variance)
