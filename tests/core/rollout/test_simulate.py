from __future__ import annotations

import numpy as np

from core.rollout.sequential import ACCURACY_ALPHA
from core.rollout.simulate import Scenario, photos_until_alarm


def test_false_alarm_rate_stays_below_its_bound() -> None:
    ended = photos_until_alarm(Scenario(error_rate=0.15, photos=300), runs=500)
    assert np.mean(ended > 0) <= ACCURACY_ALPHA


def test_much_worse_candidate_is_found_sooner() -> None:
    medians = []
    for worse_by in (0.4, 0.6):
        ended = photos_until_alarm(Scenario(worse_by=worse_by, photos=3000), runs=50)
        assert (ended > 0).mean() > 0.9
        medians.append(np.median(ended[ended > 0]))
    assert medians[1] < medians[0] < 1500


def test_simulation_repeats_with_its_seed() -> None:
    scenario = Scenario(worse_by=0.6, photos=400, correlation=0.3)
    first, again = (photos_until_alarm(scenario, 20, seed=4) for _ in range(2))
    assert (first == again).all()
