"""Drift: whether the photos of a day differ from those of the month before, beyond chance.

Histograms are compared by Pearson's chi-squared test. Photos are not independent: a person sends
several of one subject. As in the first-order correction of Rao and Scott (1981), the statistic is
divided by a design effect, here that of people who send three photos on average.
`core.rollout.simulate_drift` shows how often days without drift raise an alarm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats.contingency import expected_freq

from core.rollout.drift_result import BinGroup, Difference

__all__ = ["MIN_PHOTOS", "PHOTOS_PER_PERSON", "compare"]

MIN_PHOTOS = 50
"""Number of photos, of a day and of its reference, below which they are not compared."""

PHOTOS_PER_PERSON = 3
"""Mean number of photos that a person sends."""

# E[n²] / E[n] of a geometrically distributed number n of photos.
_DESIGN_EFFECT = 2 * PHOTOS_PER_PERSON - 1
# Maximum number of groups of bins, each of which holds at least an equal share of the photos.
_ORDERED_GROUPS, _UNORDERED_GROUPS = 10, 200


def compare(
    day: Mapping[str, int], reference: Mapping[str, int], *, ordered: bool = False
) -> Difference:
    """Compare two histograms.

    Args:
        day: Number of photos by bin.
        reference: The same for the reference.
        ordered: Whether the bins are numbers, so that neighbours are grouped; otherwise rare bins
            are grouped.

    Returns:
        The difference. Without groups, with a change of 0 and a p-value of 1, where it is not
        compared: one of the histograms has fewer than `MIN_PHOTOS` photos, as the month before a
        new revision has, or all photos are in one group.
    """
    n, reference_n = sum(day.values()), sum(reference.values())
    groups, counts = _group_bins(day, reference, ordered=ordered)
    if n < MIN_PHOTOS or reference_n < MIN_PHOTOS or len(groups) < 2:
        return Difference(n, reference_n, 0.0, 1.0, "")
    shares = counts / counts.sum(axis=1, keepdims=True)
    change = np.abs(shares[0] - shares[1])
    expected = expected_freq(counts)
    statistic = ((counts - expected) ** 2 / expected).sum() / _DESIGN_EFFECT
    p = float(special.chdtrc(len(groups) - 1, statistic))
    largest = _group_name(groups[int(change.argmax())], ordered=ordered)
    found = tuple(map(BinGroup, groups, *shares.tolist()))
    return Difference(n, reference_n, float(change.sum() / 2), p, largest, found)


def _group_bins(
    day: Mapping[str, int], reference: Mapping[str, int], *, ordered: bool
) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    """Group bins until each group holds a tenth of the photos (ordered) or 0.5% (unordered).

    Returns:
        Bins of the groups, and counts of shape (2, groups): of the day and of the reference.
    """
    bins = sorted({*day, *reference}, key=(lambda each: (float(each), each)) if ordered else None)
    bin_counts = np.array([[h.get(each, 0) for each in bins] for h in (day, reference)], np.float64)
    total = bin_counts.sum()
    if not total:
        return [], bin_counts
    min_size = total / _ORDERED_GROUPS if ordered else total / _UNORDERED_GROUPS
    order = range(len(bins)) if ordered else np.argsort(bin_counts.sum(axis=0), kind="stable")
    groups: list[list[int]] = [[]]
    size = 0.0
    for i in order:
        groups[-1].append(int(i))
        size += bin_counts[:, i].sum()
        if size >= min_size:
            groups.append([])
            size = 0.0
    rest = groups.pop() if len(groups) > 1 else []
    groups[-1] += rest
    names = [tuple(bins[i] for i in group) for group in groups]
    return names, np.stack([bin_counts[:, group].sum(axis=1) for group in groups], axis=1)


def _group_name(bins: tuple[str, ...], *, ordered: bool) -> str:
    if ordered and len(bins) > 1:
        return f"{bins[0]} to {bins[-1]}"
    return ", ".join(bins)
