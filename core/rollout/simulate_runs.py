"""Simulations of the canary's tests of errors and speed, which compare runs in pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.rollout.sequential import ERRORS_ALPHA, Blocks, average_alternatives, log_factors

__all__ = ["RunScenario", "pairs_until_alarm"]

_NO_ALARM = -1
_BUSY_ENDS = 0.1  # for each run, so busy times last ten runs on average


@dataclass(frozen=True)
class RunScenario:
    """A canary whose runs are compared in pairs, see `RunPairs`.

    Attributes:
        rate: Share of the live revision's runs that fail: by an error, or by being slow.
        worse_by: Difference by which the candidate's share is higher.
        busy_begins: Probability with which a run begins a time in which the machine is busy, of ten
            runs on average; 0 for independent runs.
        busy_rate: Share of the runs of either revision that fail while it is busy.
        alarm_at: Evidence at which the candidate is rolled back.
        pairs: Number of pairs after which a simulated canary ends.
    """

    rate: float = 0.01
    worse_by: float = 0.0
    busy_begins: float = 0.0
    busy_rate: float = 0.5
    alarm_at: float = 1 / ERRORS_ALPHA
    pairs: int = 2000


def pairs_until_alarm(scenario: RunScenario, runs: int, seed: int = 0) -> NDArray[np.int64]:
    """Simulate canaries, looking at the evidence after every pair.

    The live revision runs first in each pair, as it does where the candidate has a small share.

    Args:
        scenario: What to simulate.
        runs: Number of canaries.
        seed: Seed of the random numbers.

    Returns:
        Number of pairs until the alarm, shape (runs,); -1 where there was none.
    """
    rng = np.random.default_rng(seed)
    factors = _factors_of_pairs()
    # Numbers of pairs by whether the candidate's and the live revision's run failed.
    counts = np.zeros((runs, 4), np.int64)
    ended = np.full(runs, _NO_ALARM)
    running = np.arange(runs)
    is_busy = np.zeros(runs, bool)
    candidate_rate = scenario.rate + scenario.worse_by
    for pair in range(1, scenario.pairs + 1):
        live_failed = _run(rng, scenario, is_busy, scenario.rate)
        failed = _run(rng, scenario, is_busy, candidate_rate)
        counts[running, 2 * failed + live_failed] += 1
        # Evidence rises with pairs in which the candidate alone failed, and no others.
        risen = running[failed & ~live_failed]
        evidence = average_alternatives(counts[risen] @ factors)
        ended[risen[evidence >= np.log(scenario.alarm_at)]] = pair
        goes_on = ended[running] == _NO_ALARM
        running, is_busy = running[goes_on], is_busy[goes_on]
        if not len(running):
            break
    return ended


def _run(
    rng: np.random.Generator, scenario: RunScenario, is_busy: NDArray[np.bool_], rate: float
) -> NDArray[np.bool_]:
    """Draw whether a run fails in each canary, after changing where the machine is busy."""
    changes = rng.random(len(is_busy)) < np.where(is_busy, _BUSY_ENDS, scenario.busy_begins)
    is_busy ^= changes
    rates = np.where(is_busy, max(scenario.busy_rate, rate), rate)
    return np.asarray(rng.random(len(is_busy)) < rates, bool)


def _factors_of_pairs() -> NDArray[np.float64]:
    """Tabulate `log_factors` of a pair, shape (4, g), by 2 · candidate failed + live failed."""
    one = np.ones(4, np.int64)
    return log_factors(Blocks(one, np.array([0, 0, 1, 1]), one, np.array([0, 1, 0, 1])))
