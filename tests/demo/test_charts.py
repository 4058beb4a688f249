"""Charts of the page as SVG."""

from __future__ import annotations

from xml.etree import ElementTree

from demo.charts import Axis, Dot, Series, line_chart, scatter_chart

SHARE = Axis("share", 0.0, 1.0, lambda value: f"{value:.0%}")


def test_position_outside_the_axis_stays_at_its_ends() -> None:
    axis = Axis("ms", 10.0, 20.0, str)
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
