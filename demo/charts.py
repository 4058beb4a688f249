"""Charts as SVG: nothing to load, and readable in both colour schemes."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "Dot", "Series", "line_chart", "scatter_chart"]

# Small enough to keep the text legible on a phone, where the chart is about as wide.
_WIDTH, _HEIGHT = 360, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 16, 10, 36
_LEGEND = 18
# Vertical distance of two names beside dots, and the width of a letter of a wide font, in units of
# the chart.
_NAME_GAP = 13
_LETTER = 6.7
# Maximum number of steps between the ticks of an axis.
_STEPS = 6


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        title: What it measures, with its unit.
        low, high: Range of the axis, low < high.
        tick: Formats the value of a tick.
        unit: Smallest step between ticks that `tick` still tells apart.
    """

    title: str
    low: float
    high: float
    tick: Callable[[float], str]
    unit: float

    def share(self, value: float) -> float:
        """Return the position of a value on the axis, 0 to 1; values outside stay at the ends."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return the round values in the range: multiples of 1, 2 or 5 times a power of ten."""
        least = max((self.high - self.low) / _STEPS, self.unit)
        power = 10.0 ** math.floor(math.log10(least))
        step = next(each * power for each in (1, 2, 5, 10) if each * power >= least * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: Name in the legend.
        points: Pairs of x and y.
        style: Class of the line in style.css, `first`, `second` or `reference`.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str


@dataclass(frozen=True)
class Dot:
    """A named dot of a scatter chart."""

    name: str
    x: float
    y: float


def line_chart(series: Sequence[Series], x: Axis, y: Axis, description: str) -> str:
    """Draw lines as SVG with axes and a legend.

    Args:
        series: The lines.
        x: Horizontal axis.
        y: Vertical axis.
        description: Text alternative.
    """
    drawn = []
    for i, each in enumerate(series):
        points = " ".join(f"{_x(x, a):.1f},{_y(y, b):.1f}" for a, b in each.points)
        drawn.append(f'<polyline class="line {each.style}" points="{points}"/>')
        drawn += [
            f'<circle class="point {each.style}" cx="{_x(x, a):.1f}" cy="{_y(y, b):.1f}" r="2"/>'
            for a, b in each.points
        ]
        left = _LEFT + i * (_WIDTH - _LEFT) / max(len(series), 1)
        height = _HEIGHT + _LEGEND / 2
        drawn.append(
            f'<line class="line {each.style}" x1="{left:.0f}" y1="{height - 4:.0f}" '
            f'x2="{left + 18:.0f}" y2="{height - 4:.0f}"/>'
            f'<text x="{left + 23:.0f}" y="{height:.0f}">{html.escape(each.name)}</text>'
        )
    return _svg(x, y, "".join(drawn), description, _HEIGHT + _LEGEND)


def scatter_chart(dots: Sequence[Dot], x: Axis, y: Axis, description: str) -> str:
    """Draw named dots as SVG with axes.

    Args:
        dots: The dots.
        x: Horizontal axis.
        y: Vertical axis.
        description: Text alternative.
    """
    drawn, taken = [], -float("inf")
    for dot in sorted(dots, key=lambda each: -each.y):
        left, height = _x(x, dot.x), _y(y, dot.y)
        # Names are moved down where they would overlap.
        name_height = max(height + 4, taken + _NAME_GAP)
        taken = name_height
        to_the_left = left + 8 + _LETTER * len(dot.name) > _WIDTH
        place = f'x="{left - 7:.1f}" text-anchor="end"' if to_the_left else f'x="{left + 7:.1f}"'
        drawn.append(
            f'<circle class="dot" cx="{left:.1f}" cy="{height:.1f}" r="4"/>'
            f'<text {place} y="{name_height:.1f}">{html.escape(dot.name)}</text>'
        )
    return _svg(x, y, "".join(drawn), description, _HEIGHT)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _svg(x: Axis, y: Axis, drawn: str, description: str, height: int) -> str:
    """Wrap the marks of a chart in an SVG element with grid, ticks and titles of the axes."""
    parts = [
        f'<line class="grid" x1="{_LEFT}" y1="{_y(y, b):.1f}" '
        f'x2="{_WIDTH - _RIGHT}" y2="{_y(y, b):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 4}" y="{_y(y, b) + 4:.1f}" text-anchor="end">'
        f"{html.escape(y.tick(b))}</text>"
        for b in y.ticks()
    ]
    parts += [
        f'<text class="tick" x="{_x(x, a):.1f}" y="{_HEIGHT - _BOTTOM + 14}" '
        f'text-anchor="middle">{html.escape(x.tick(a))}</text>'
        for a in x.ticks()
    ]
    middle = (_HEIGHT - _BOTTOM + _TOP) / 2
    parts.append(
        f'<text class="title" x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 6}" '
        f'text-anchor="middle">{html.escape(x.title)}</text>'
        f'<text class="title" x="10" y="{middle:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 10 {middle:.0f})">{html.escape(y.title)}</text>'
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{html.escape(description)}">{"".join(parts)}{drawn}</svg>'
    )
