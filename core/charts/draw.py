"""Draw a chart as a picture that is readable on a phone."""

from __future__ import annotations

from io import BytesIO

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.charts.chart import Chart, Panel

__all__ = ["WIDTH", "draw_chart"]

WIDTH = 1080
"""Width of the picture in pixels, that of a phone's screen."""

_DPI = 200
_INCHES_PER_BAR = 0.19
_INCHES_PER_ROW = 0.1
_INCHES_PER_PANEL = 0.45
_INCHES_AROUND = 0.8
_FONT = 11
_NAME_CHARACTERS = 18
_TITLE_CHARACTERS = 40
# Distinguishable with any colour vision: Okabe and Ito (2008).
_COLOURS = ("#D55E00", "#0072B2")


def draw_chart(chart: Chart) -> bytes:
    """Draw a chart as PNG, 1,080 pixels wide, on white in light and dark themes."""
    heights = [_panel_inches(panel) for panel in chart.panels]
    # Without its parser for formulas, since a label may contain dollar signs.
    with matplotlib.rc_context({"font.size": _FONT, "text.parse_math": False}):
        figure = Figure(
            figsize=(WIDTH / _DPI, _INCHES_AROUND + sum(heights)),
            dpi=_DPI,
            facecolor="white",
            layout="constrained",
        )
        figure.suptitle(_shorten(chart.title, _TITLE_CHARACTERS), weight="bold")
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
        for each, panel in zip(axes.flat, chart.panels, strict=True):
            _draw_panel(each, panel)
        if len(chart.series) > 1:
            colours = zip(chart.series, _COLOURS, strict=False)
            handles = [axes[0, 0].barh(0, 0, color=colour, label=name) for name, colour in colours]
            figure.legend(
                handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
            )
        stream = BytesIO()
        figure.savefig(stream, format="png")
    return stream.getvalue()


def _panel_inches(panel: Panel) -> float:
    row = _INCHES_PER_ROW + len(_series(panel)) * _INCHES_PER_BAR
    return _INCHES_PER_PANEL + len(panel.rows) * row


def _series(panel: Panel) -> list[int]:
    """Return the places of the series that have bars in a panel."""
    return sorted({j for row in panel.rows for j, bar in enumerate(row.bars) if bar is not None})


def _draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw the rows of a panel; lengths are shares of its axis."""
    series = _series(panel)
    ends = [
        max(bar.value, bar.high or 0.0) for row in panel.rows for bar in row.bars if bar is not None
    ]
    longest = panel.end or max([*ends, 0.0]) or 1.0
    thickness = 0.8 / max(len(series), 1)
    for i, row in enumerate(panel.rows):
        for place, j in enumerate(series):
            bar = row.bars[j]
            if bar is None:
                continue
            y = i + (place - (len(series) - 1) / 2) * thickness
            axes.barh(y, bar.value / longest, thickness * 0.9, color=_COLOURS[j])
            end = bar.value
            if bar.low is not None and bar.high is not None:
                ends_at = [bar.low / longest, bar.high / longest]
                axes.plot(ends_at, [y, y], color="black", linewidth=1.5)
                end = max(end, bar.high)
            axes.text(end / longest + 0.02, y, bar.text, va="center", size=_FONT - 1)
    axes.set_title(_shorten(panel.title, _TITLE_CHARACTERS), loc="left", size=_FONT)
    names = [_shorten(row.name, _NAME_CHARACTERS) for row in panel.rows]
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 1.45)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _shorten(text: str, most: int) -> str:
    """Cut a text to some characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
