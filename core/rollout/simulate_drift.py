"""Simulate how often photos without drift raise an alarm, and how soon drift does.

The simulation looks as the bot does: at every full hour, with `drift_reports`, at the last 24 hours
and the 30 days before them. Photos arrive evenly over the hours, which is the worst case: fewer of
a day's looks differ from each other where the nights are quiet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.rollout.drift import PHOTOS_PER_PERSON
from core.rollout.drift_report import drift_reports
from core.rollout.drift_samples import DriftSample
from core.store.drift import AnswerHistograms

__all__ = ["MAX_WAIT_H", "DriftScenario", "false_alarm_rate", "hours_until_alarm"]

MAX_WAIT_H = 48
"""Hours of drift after which a simulation ends."""

_DAY_H = 24
_MONTH_H = 30 * _DAY_H
# Shares of the photos by ascending bin. More than half of the confidences are in the last bin, as
# in the reliability diagram of the model `classic`.
_SCORES = np.full(32, 1 / 32)
_CONFIDENCES = np.array([0.045] * 10 + [0.55])


@dataclass(frozen=True)
class DriftScenario:
    """Photos to simulate.

    Every person sends a geometric number of photos, three on average, within an hour, all of one
    class and with the same known score and confidence.

    Attributes:
        photos: Photos a day, on average.
        classes: Number of classes and verdicts, which are equally frequent without drift.
        moved: Share of the people whose photos show the first class while there is drift.
        moves_scores: Whether the known scores and confidences of these photos are in the lower half
            of the bins; otherwise they are as usual.
    """

    photos: int
    classes: int = 11
    moved: float = 0.0
    moves_scores: bool = False


def false_alarm_rate(scenario: DriftScenario, days: int, seed: int = 0) -> float:
    """Simulate consecutive days without drift and return the number of alarms a day.

    After an alarm, there is none for 24 hours.

    Args:
        scenario: What to simulate, without its drift.
        days: Number of days.
        seed: Seed of the random numbers.
    """
    first = _MONTH_H + _DAY_H
    end = first + days * _DAY_H
    totals = _totals(np.random.default_rng(seed), scenario, hours=end, drift_from=end)
    alarms, next_look = 0, first
    for hour in range(first, end):
        if hour >= next_look and _is_alarm(totals, hour):
            alarms += 1
            next_look = hour + _DAY_H
    return alarms / days


def hours_until_alarm(scenario: DriftScenario, runs: int, seed: int = 0) -> NDArray[np.int64]:
    """Simulate drift that starts after a usual month and persists.

    Args:
        scenario: What to simulate.
        runs: Number of beginnings of drift.
        seed: Seed of the random numbers.

    Returns:
        Hours from the beginning to the look that raises an alarm, shape (runs,); -1 where there is
        none within `MAX_WAIT_H`.
    """
    rng = np.random.default_rng(seed)
    begin = _MONTH_H + _DAY_H
    waits = np.full(runs, -1, np.int64)
    for run in range(runs):
        totals = _totals(rng, scenario, hours=begin + MAX_WAIT_H, drift_from=begin)
        looks = range(1, MAX_WAIT_H + 1)
        waits[run] = next((hour for hour in looks if _is_alarm(totals, begin + hour)), -1)
    return waits


def _totals(
    rng: np.random.Generator, scenario: DriftScenario, *, hours: int, drift_from: int
) -> dict[str, NDArray[np.int64]]:
    """Simulate the photos of some hours, with drift from one of them.

    Returns:
        By statistic, the number of photos before each hour: shape (hours + 1, bins).
    """
    people = rng.poisson(scenario.photos / PHOTOS_PER_PERSON / _DAY_H, hours)
    hour = np.repeat(np.arange(hours), people)
    sent = rng.geometric(1 / PHOTOS_PER_PERSON, len(hour))
    moved = (hour >= drift_from) & (rng.random(len(hour)) < scenario.moved)
    usual = {
        "labels": np.full(scenario.classes, 1 / scenario.classes),
        "known_scores": _SCORES,
        "confidences": _CONFIDENCES,
    }
    totals = {}
    for name, shares in usual.items():
        shown = rng.choice(len(shares), len(hour), p=shares)
        if name == "labels":
            shown[moved] = 0
        elif scenario.moves_scores:
            shown[moved] = rng.integers(len(shares) // 2, size=moved.sum())
        counts = np.zeros((hours + 1, len(shares)), np.int64)
        np.add.at(counts, (hour + 1, shown), sent)
        totals[name] = counts.cumsum(axis=0)
    return totals


def _is_alarm(totals: Mapping[str, NDArray[np.int64]], hour: int) -> bool:
    """Return whether a look at the beginning of an hour raises an alarm."""
    start = hour - _DAY_H
    day, month = _histograms(totals, start, hour), _histograms(totals, start - _MONTH_H, start)
    (report,) = drift_reports([DriftSample("", "", day, month, None)])
    return bool(report.alarms)


def _histograms(totals: Mapping[str, NDArray[np.int64]], start: int, end: int) -> AnswerHistograms:
    photos = {name: (each[end] - each[start]).tolist() for name, each in totals.items()}
    return AnswerHistograms(
        **{
            name: Counter({str(i): n for i, n in enumerate(counts) if n})
            for name, counts in photos.items()
        }
    )
