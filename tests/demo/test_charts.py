"""Charts of the page as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from demo.charts import Axis, Dot, Series, line_chart, scatter_chart

SHARE = Axis("share", 0.0, 1.0, "{:.0%}".format, 0.01)


def test_position_outside_the_axis_stays_at_its_ends() -> None:
    axis = Axis("ms", 10.0, 20.0, str, 1.0)
    assert [axis.share(value) for value in (0, 10, 15, 20, 99)] == [0, 0, 0.5, 1, 1]


def test_charts_are_well_formed_and_escape_names() -> None:
    name = '<b> & "x"'
    lines = line_chart([Series(name, [(0, 0), (1, 1)], "first")], SHARE, SHARE, name)
    dots = scatter_chart([Dot(name, 0.5, 0.5)], SHARE, SHARE, name)
    for drawn in (lines, dots):
        assert name in "".join(ElementTree.fromstring(drawn).itertext())  # noqa: S314  # our own
        assert "<b>" not in drawn


def test_names_of_equal_dots_do_not_lie_on_each_other() -> None:
    drawn = scatter_chart([Dot("one", 0.5, 0.5), Dot("two", 0.5, 0.5)], SHARE, SHARE, "dots")
    texts = ElementTree.fromstring(drawn).iter("text")  # noqa: S314  # our own
    heights = {each.text: float(each.get("y") or 0) for each in texts}
    assert abs(heights["one"] - heights["two"]) >= 10


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
