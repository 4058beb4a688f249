from __future__ import annotations

import numpy as np
import pytest

from core.rollout.sequential import ERRORS_ALPHA, SLOW_ALPHA
from core.rollout.simulate_runs import RunScenario, pairs_until_alarm


@pytest.mark.parametrize("busy_begins", [0.0, 0.01], ids=["independent runs", "busy times"])
@pytest.mark.parametrize("rate", [0.001, 0.1])
def test_false_alarm_rate_stays_below_its_bound(rate: float, busy_begins: float) -> None:
    scenario = RunScenario(rate=rate, busy_begins=busy_begins, pairs=500)
    assert np.mean(pairs_until_alarm(scenario, runs=1000) > 0) <= min(ERRORS_ALPHA, SLOW_ALPHA)


def test_worse_candidate_is_found_sooner() -> None:
    medians = []
    for worse_by in (0.1, 0.4):
        ended = pairs_until_alarm(RunScenario(worse_by=worse_by, pairs=1000), runs=50)
        assert (ended > 0).all()
        medians.append(np.median(ended))
    assert medians[1] < medians[0] < 300


def test_simulation_repeats_with_its_seed() -> None:
    scenario = RunScenario(worse_by=0.2, busy_begins=0.01, pairs=200)
    first, again = (pairs_until_alarm(scenario, 20, seed=4) for _ in range(2))
    assert (first == again).all()
