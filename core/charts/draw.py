"""Draw a chart as a picture that is readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from core.charts.chart import Chart, Matrix, Panel

__all__ = ["WIDTH", "draw_chart"]

WIDTH = 1080
"""Width of the picture in pixels, that of a phone's screen."""

_DPI = 200
_INCHES_PER_BAR = 0.19
_INCHES_PER_LINE = 0.2
_INCHES_PER_ROW = 0.1
_INCHES_PER_PANEL = 0.45
_INCHES_PER_MATRIX_ROW = 0.34
_INCHES_PER_FACT = 0.55
_INCHES_PER_NOTE = 0.24
_INCHES_PER_LEGEND = 0.3
_INCHES_AROUND = 0.5
_FACTS_PER_ROW = 2
_FONT = 11
_NAME_CHARACTERS = 18
_TEXT_CHARACTERS = 28
_TITLE_CHARACTERS = 40
_FACT_CHARACTERS = 36
_NOTE_CHARACTERS = 80
# Left of facts and notes, as a share of the width.
_MARGIN = 0.04
# Usual width of a character, as a share of its height, and of a point in inches.
_CHARACTER = 0.62
_POINT = 1 / 72
# End of the axis of a panel, in lengths of the longest bar, to leave room for the text beside it.
_AXIS_END = 1.45
_MUTED = "#555555"
# Distinguishable with any colour vision: Okabe and Ito (2008).
_COLOURS = ("#D55E00", "#0072B2")
# Text on a darker cell is white.
_DARK = 0.55
# For names in scripts that the first font lacks; those that are not installed are left out.
_FONTS = (
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Noto Sans Arabic"),
    *("Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji", "Arial Unicode MS"),
)


def draw_chart(chart: Chart) -> bytes:
    """Draw a chart as PNG, 1,080 pixels wide, on white in light and dark themes."""
    parts = [
        (inches, draw)
        for inches, draw in (
            (_facts_inches(chart), _draw_facts),
            (_panels_inches(chart), _draw_panels),
            (_matrix_inches(chart), _draw_matrix),
            (len(chart.notes) * _INCHES_PER_NOTE, _draw_notes),
        )
        if inches
    ]
    heights = [inches for inches, _ in parts]
    # Without its parser for formulas, since a label may contain dollar signs.
    fonts = _installed_fonts()
    with matplotlib.rc_context(
        {"font.size": _FONT, "font.family": fonts, "text.parse_math": False}
    ):
        figure = Figure(
            figsize=(WIDTH / _DPI, _INCHES_AROUND + sum(heights)),
            dpi=_DPI,
            facecolor="white",
            layout=ConstrainedLayoutEngine(w_pad=0.1),
        )
        FigureCanvasAgg(figure)
        figure.suptitle(_shorten(chart.title, _TITLE_CHARACTERS), weight="bold")
        places = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
        for place, (_, draw) in zip(places.flat, parts, strict=True):
            draw(place, chart)
        stream = BytesIO()
        figure.savefig(stream, format="png")
    return stream.getvalue()


def _installed_fonts() -> list[str]:
    known = set(font_manager.get_font_names())
    return [name for name in _FONTS if name in known]


def _facts_inches(chart: Chart) -> float:
    return math.ceil(len(chart.facts) / _FACTS_PER_ROW) * _INCHES_PER_FACT


def _panels_inches(chart: Chart) -> float:
    legend = _INCHES_PER_LEGEND if len(chart.series) > 1 else 0.0
    return sum(map(_panel_inches, chart.panels)) + (legend if chart.panels else 0.0)


def _matrix_inches(chart: Chart) -> float:
    if chart.matrix is None:
        return 0.0
    return _INCHES_PER_PANEL + (len(chart.matrix.names) + 1) * _INCHES_PER_MATRIX_ROW


def _draw_facts(figure: SubFigure, chart: Chart) -> None:
    """Draw the facts, two in a row: the name small, the value large below it."""
    rows = math.ceil(len(chart.facts) / _FACTS_PER_ROW)
    for i, fact in enumerate(chart.facts):
        x = _MARGIN + (i % _FACTS_PER_ROW) / _FACTS_PER_ROW
        top = 1 - (i // _FACTS_PER_ROW) / rows
        width = 1 / _FACTS_PER_ROW - 1.5 * _MARGIN
        name = figure.text(x, top - 0.12 / rows, _shorten(fact.name, _FACT_CHARACTERS), va="top")
        name.set(size=_FONT - 2, color=_MUTED)
        _fit(name, width)
        value = figure.text(x, top - 0.42 / rows, _shorten(fact.value, _FACT_CHARACTERS), va="top")
        colour = _COLOURS[0] if fact.is_warning else "black"
        value.set(size=_FONT + 4, weight="bold", color=colour)
        _fit(value, width)


def _draw_panels(figure: SubFigure, chart: Chart) -> None:
    heights = [_panel_inches(panel) for panel in chart.panels]
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    for each, panel in zip(axes.flat, chart.panels, strict=True):
        _draw_panel(each, panel, _colours(chart))
    if len(chart.series) > 1:
        colours = zip(chart.series, _colours(chart), strict=True)
        handles = [axes[0, 0].barh(0, 0, color=colour, label=name) for name, colour in colours]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )


def _draw_notes(figure: SubFigure, chart: Chart) -> None:
    n = len(chart.notes)
    for i, note in enumerate(chart.notes):
        text = figure.text(_MARGIN, 1 - i / n, _shorten(note, _NOTE_CHARACTERS), va="top")
        text.set(size=_FONT - 2)
        _fit(text, 1 - 1.5 * _MARGIN)


def _fit(text: Text, width: float) -> None:
    """Make a text smaller if it is wider than a share of the picture."""
    extent = text.get_window_extent(dpi=_DPI).width
    if extent > width * WIDTH:
        text.set_fontsize(text.get_fontsize() * width * WIDTH / extent)


def _panel_inches(panel: Panel) -> float:
    lines = max(len(row.name.splitlines()) for row in panel.rows)
    row = max(len(_series(panel)) * _INCHES_PER_BAR, (lines > 1) * lines * _INCHES_PER_LINE)
    return _INCHES_PER_PANEL + len(panel.rows) * (_INCHES_PER_ROW + row)


def _series(panel: Panel) -> list[int]:
    """Return the places of the series that have bars in a panel."""
    return sorted({j for row in panel.rows for j, bar in enumerate(row.bars) if bar is not None})


def _colours(chart: Chart) -> tuple[str, ...]:
    """Return the colours of the series; that of warnings is not the only one."""
    return _COLOURS if len(chart.series) > 1 else _COLOURS[1:]


def _draw_panel(axes: Axes, panel: Panel, colours: tuple[str, ...]) -> None:
    """Draw the rows of a panel; lengths are shares of its axis."""
    series = _series(panel)
    ends = [
        max(bar.value, bar.high or 0.0) for row in panel.rows for bar in row.bars if bar is not None
    ]
    longest = panel.end or max([*ends, 0.0]) or 1.0
    thickness = 0.8 / max(len(series), 1)
    texts: list[tuple[float, str]] = []
    for i, row in enumerate(panel.rows):
        for place, j in enumerate(series):
            bar = row.bars[j]
            if bar is None:
                continue
            y = i + (place - (len(series) - 1) / 2) * thickness
            axes.barh(y, bar.value / longest, thickness * 0.9, color=colours[j])
            end = bar.value
            if bar.low is not None and bar.high is not None:
                ends_at = [bar.low / longest, bar.high / longest]
                axes.plot(ends_at, [y, y], color="black", linewidth=1.5)
                end = max(end, bar.high)
            beside = end / longest + 0.02
            text = _shorten(bar.text, _TEXT_CHARACTERS)
            texts.append((beside, text))
            axes.text(beside, y, text, va="center", size=_FONT - 1)
    axes.set_title(_shorten(panel.title, _TITLE_CHARACTERS), loc="left", size=_FONT)
    names = [
        "\n".join(_shorten(line, _NAME_CHARACTERS) for line in row.name.splitlines())
        for row in panel.rows
    ]
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, _axis_end(texts, names))
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(left=False, bottom=False, labelbottom=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _axis_end(texts: Sequence[tuple[float, str]], names: Sequence[str]) -> float:
    """Return the end of an axis, in lengths of its longest bar, at which all texts fit.

    Args:
        texts: Where each text beside a bar begins, in the same unit, and the text.
        names: Names on the left of the axis.
    """
    longest = max((len(line) for name in names for line in name.splitlines()), default=0)
    inches = WIDTH / _DPI * (1 - _MARGIN) - longest * _CHARACTER * _FONT * _POINT
    ends = (
        start / (1 - len(text) * _CHARACTER * (_FONT - 1) * _POINT / inches)
        for start, text in texts
    )
    return max([_AXIS_END, *ends])


def _draw_matrix(figure: SubFigure, chart: Chart) -> None:
    if chart.matrix is not None:
        _draw_counts(figure.subplots(), chart.matrix)


def _draw_counts(axes: Axes, matrix: Matrix) -> None:
    """Draw the counts of a matrix, shaded by their share of the row: blue where both agree."""
    n = len(matrix.names)
    for i, row in enumerate(matrix.counts):
        for j, count in enumerate(row):
            if not count:
                continue
            share = count / sum(row)
            colour = to_rgba(_COLOURS[i == j], 0.15 + 0.85 * share)
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour))
            shade = "white" if share > _DARK else "black"
            axes.text(j, i, str(count), ha="center", va="center", color=shade)
    names = [f"{i}  {_shorten(name, _NAME_CHARACTERS)}" for i, name in enumerate(matrix.names, 1)]
    axes.set_title(_shorten(matrix.title, _TITLE_CHARACTERS), loc="left", size=_FONT)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks(range(n), names)
    axes.set_xticks(range(n), [str(i) for i in range(1, n + 1)])
    axes.xaxis.tick_top()
    axes.tick_params(left=False, top=False)
    axes.hlines([i + 0.5 for i in range(n - 1)], -0.5, n - 0.5, color="#cccccc", linewidth=0.8)
    axes.vlines([i + 0.5 for i in range(n - 1)], -0.5, n - 0.5, color="#cccccc", linewidth=0.8)


def _shorten(text: str, most: int) -> str:
    """Cut a text to some characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
