"""Axes of the charts."""

from __future__ import annotations

import pytest

from demo.charts import Axis


@pytest.mark.parametrize(
    ("low", "high", "unit", "ticks"),
    [
        (0.6, 0.95, 0.01, ["60%", "70%", "80%", "90%"]),
        (0.97, 1.0, 0.01, ["97%", "98%", "99%", "100%"]),
        (0.0, 1.0, 0.01, ["0%", "20%", "40%", "60%", "80%", "100%"]),
    ],
)
def test_ticks_are_exact(low: float, high: float, unit: float, ticks: list[str]) -> None:
    axis = Axis("accuracy", low, high, "{:.0%}".format, unit)
    assert list(map(axis.tick, axis.ticks())) == ticks
    assert [float(tick[:-1]) / 100 for tick in ticks] == pytest.approx(axis.ticks())


def test_ticks_are_no_closer_than_the_unit() -> None:
    assert Axis("epoch", 1, 2, "{:.0f}".format, 1).ticks() == [1, 2]
    assert Axis("epoch", 1, 9, "{:.0f}".format, 1).ticks() == [2, 4, 6, 8]
    assert Axis("time", 0, 10.3, "{:.1f}".format, 0.1).ticks() == [0, 2, 4, 6, 8, 10]
