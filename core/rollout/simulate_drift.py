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

__all__ = ["DriftScenario", "false_alarm_rate"]

_DAY_H = 24
_MONTH_H = 30 * _DAY_H
# Shares of the photos by ascending bin. More than half of the confidences are in the last bin, as
# in the reliability diagram of the model `classic`.
_SCORES = np.full(32, 1 / 32)
_CONFIDENCES = np.array([0.045] * 10 + [0.55])


@dataclass(frozen=True)
class DriftScenario:
    """Photos to simulate.

    Attributes:
        photos: Photos a day, on average.
        classes: Number of classes and verdicts, which are equally frequent without drift.
    """

    photos: int
    classes: int = 11


def false_alarm_rate(scenario: DriftScenario, days: int, seed: int = 0) -> float:
    """Simulate consecutive days without drift and return the number of alarms a day.

    Every person sends a geometric number of photos, three on average, within an hour, all of one
    class and with the same known score and confidence. After an alarm, there is none for 24 hours.

    Args:
        scenario: What to simulate.
        days: Number of days.
        seed: Seed of the random numbers.
    """
    first = _MONTH_H + _DAY_H
    end = first + days * _DAY_H
    totals = _totals(np.random.default_rng(seed), scenario, end)
    alarms, next_look = 0, first
    for hour in range(first, end):
        if hour >= next_look and _is_alarm(totals, hour):
            alarms += 1
            next_look = hour + _DAY_H
    return alarms / days


def _totals(
    rng: np.random.Generator, scenario: DriftScenario, hours: int
) -> dict[str, NDArray[np.int64]]:
    """Simulate the photos of some hours.

    Returns:
        By statistic, the number of photos before each hour: shape (hours + 1, bins).
    """
    people = rng.poisson(scenario.photos / PHOTOS_PER_PERSON / _DAY_H, hours)
    hour = np.repeat(np.arange(hours), people)
    sent = rng.geometric(1 / PHOTOS_PER_PERSON, len(hour))
    usual = {
        "labels": np.full(scenario.classes, 1 / scenario.classes),
        "known_scores": _SCORES,
        "confidences": _CONFIDENCES,
    }
    totals = {}
    for name, shares in usual.items():
        shown = rng.choice(len(shares), len(hour), p=shares)
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
