from __future__ import annotations

import pytest

from bot.timings import Backoff


@pytest.mark.parametrize(("pause_s", "next_s"), [(1.0, 2.0), (20.0, 30.0), (30.0, 30.0)])
def test_backoff_doubles_up_to_its_longest_pause(pause_s: float, next_s: float) -> None:
    assert Backoff(1.0, 30.0).next(pause_s) == next_s
