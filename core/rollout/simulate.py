"""Simulations of the canary test: how often it alarms falsely, and how soon it rolls back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.rollout.sequential import (
    ACCURACY_ALPHA,
    MAX_PER_PERSON,
    Blocks,
    average_alternatives,
    block_sizes,
    combine_strata,
    log_factors,
)

__all__ = ["Scenario", "photos_until_alarm"]

_NO_ALARM = -1


@dataclass(frozen=True)
class Scenario:
    """A canary to simulate; judged photos show each class equally often.

    Attributes:
        share: Share of the judged photos that the candidate answers.
        error_rate: Share of the live revision's answers that are wrong, in each class.
        worse_by: Difference by which the candidate's error rate is higher in one class.
        classes: Number of classes.
        alarm_at: Evidence at which the candidate is rolled back.
        photos: Number of judged photos after which a run ends.
        correlation: Correlation between the answers of one person's photos of a class, of which
            `MAX_PER_PERSON` follow each other; 0 for independent photos.
    """

    share: float = 0.5
    error_rate: float = 0.05
    worse_by: float = 0.0
    classes: int = 10
    alarm_at: float = 1 / ACCURACY_ALPHA
    photos: int = 1000
    correlation: float = 0.0


def photos_until_alarm(scenario: Scenario, runs: int, seed: int = 0) -> NDArray[np.int64]:
    """Simulate canaries, looking at the evidence after every judged photo.

    Args:
        scenario: What to simulate.
        runs: Number of canaries.
        seed: Seed of the random numbers.

    Returns:
        Number of judged photos until the alarm, shape (runs,); -1 where there was none.
    """
    rng = np.random.default_rng(seed)
    answers = _Answers(scenario, runs, rng)
    sizes = np.array(block_sizes(scenario.share))
    arrived = np.zeros((runs, scenario.classes, 2), np.int64)
    completed = np.zeros((runs, scenario.classes), np.int64)
    table = _factor_table(int(sizes[0]), int(sizes[1]))
    wealth = np.zeros((*completed.shape, table.shape[-1]))
    strata = np.zeros(completed.shape)
    ended = np.full(runs, _NO_ALARM)
    running = np.arange(runs)
    for photo in range(1, scenario.photos + 1):
        shown = rng.integers(0, scenario.classes, len(running))
        arrived[running, shown, np.where(rng.random(len(running)) < scenario.share, 0, 1)] += 1
        is_complete = (
            arrived[running, shown] >= sizes * (completed[running, shown, None] + 1)
        ).all(axis=1)
        run, label = running[is_complete], shown[is_complete]
        if not len(run):
            continue
        completed[run, label] += 1
        failed = answers.failed(run, label, sizes)
        wealth[run, label] += table[failed[:, 0], failed[:, 1]]
        strata[run, label] = average_alternatives(wealth[run, label])
        alarmed = run[combine_strata(strata[run]) >= np.log(scenario.alarm_at)]
        ended[alarmed] = photo
        running = running[ended[running] == _NO_ALARM]
        if not len(running):
            break
    return ended


def _factor_table(candidate: int, live: int) -> NDArray[np.float64]:
    """Tabulate `log_factors` of a block by its numbers of failed photos."""
    failed, live_failed = np.indices((candidate + 1, live + 1))
    counts = np.full_like(failed, candidate), failed, np.full_like(failed, live), live_failed
    return log_factors(Blocks(*counts))


class _Answers:
    """Draw how many photos of a block fail.

    A photo's outcome is drawn when its block is whole: the order of one revision's photos within
    a class makes no difference to the test.
    """

    def __init__(self, scenario: Scenario, runs: int, rng: np.random.Generator) -> None:
        worse = np.full(scenario.classes, scenario.error_rate)
        worse[0] += scenario.worse_by
        self._rates = np.stack([worse, np.full(scenario.classes, scenario.error_rate)], axis=1)
        self._correlation = scenario.correlation
        self._rng = rng
        # Error rate of the person whose photos come next, and how many of their photos remain.
        self._person = np.zeros((runs, scenario.classes, 2))
        self._photos_left = np.zeros(self._person.shape, np.int64)

    def failed(
        self, run: NDArray[np.int64], label: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Draw the failed photos of a block in each of some runs: of candidate and live.

        Returns:
            Array of shape (n, 2).
        """
        if not self._correlation:
            return self._rng.binomial(sizes, self._rates[label])
        failed = np.zeros((len(run), 2), np.int64)
        for i in range(int(sizes.max())):
            drawn = self._rng.random(failed.shape) < self._person_rates(run, label, i < sizes)
            failed += drawn & (i < sizes)
        return failed

    def _person_rates(
        self, run: NDArray[np.int64], label: NDArray[np.int64], taken: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the failure rates of the people whose photos come next."""
        rates, strength, left = (
            self._rates[label],
            1 / self._correlation - 1,
            self._photos_left[run, label],
        )
        new = self._rng.beta(rates * strength, (1 - rates) * strength)
        person = np.where(left == 0, new, self._person[run, label])
        self._person[run, label] = person
        used = np.where(left == 0, MAX_PER_PERSON, left) - taken
        self._photos_left[run, label] = np.where(taken, used, left)
        return person
