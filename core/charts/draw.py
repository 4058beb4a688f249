"""Draw a chart as a picture that is readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image, ImageDraw

from core.charts.chart import Chart, Matrix, Panel

__all__ = ["CARD", "FRAME", "WIDTH", "draw_chart"]

WIDTH = 1080
"""Width of the picture in pixels, that of a phone's screen."""

CARD = "#F4F5F7"
"""Background of the picture: dark text is legible on it, and it does not glare in a dark chat."""

FRAME = "#8A929C"
"""Colour around the card, with a contrast of at least 3 to white and to dark chats."""

# Chats show pictures as they are: a frame separates the card from the background of any theme.
_FRAME_PIXELS = 9
_CARD_WIDTH = WIDTH - 2 * _FRAME_PIXELS
_CARD_RADIUS = 36
_SMOOTHING = 4
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
_FONT_SIZE = 11
_NAME_CHARACTERS = 18
_TEXT_CHARACTERS = 28
_TITLE_CHARACTERS = 40
_FACT_CHARACTERS = 36
_NOTE_CHARACTERS = 80
# Margin on the left of facts and notes, as a fraction of the width.
_MARGIN = 0.04
# Typical width of a character relative to its height, and inches per point.
_CHARACTER_ASPECT = 0.62
_INCHES_PER_POINT = 1 / 72
# End of the axis of a panel, in lengths of the longest bar, to leave room for the text beside it.
_AXIS_END = 1.45
# Contrasts to the card: 15, 7 and 5 for texts, 3 and more for bars.
_TEXT = "#1B1F24"
_MUTED = "#4A5057"
_WARNING = "#B34A00"
_MUTED_BAR = "#8A929C"
_GRID = "#C9CED4"
# Distinguishable with any colour vision: Okabe and Ito (2008).
_COLOURS = ("#D55E00", "#0072B2")
# Relative luminance below which white text has more contrast than black text.
_WHITE_TEXT_BELOW = 0.179
# For names in scripts that the first font lacks; those that are not installed are left out.
_FONTS = (
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Noto Sans Arabic"),
    *("Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji", "Arial Unicode MS"),
)


def draw_chart(chart: Chart) -> bytes:
    """Draw a chart as PNG, 1,080 pixels wide: a framed card that suits light and dark chats."""
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
    # Formulas are not parsed, since a label may contain dollar signs.
    fonts = _installed_fonts()
    style: dict[Any, Any] = {
        "font.size": _FONT_SIZE,
        "font.family": fonts,
        "text.parse_math": False,
    }
    style |= dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.edgecolor"), _TEXT)
    style |= {"axes.facecolor": "none", "axes.titlecolor": _TEXT}
    with matplotlib.rc_context(style):
        figure = Figure(
            figsize=(_CARD_WIDTH / _DPI, _INCHES_AROUND + sum(heights)),
            dpi=_DPI,
            facecolor=CARD,
            layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08),
        )
        FigureCanvasAgg(figure)
        figure.suptitle(_shorten(chart.title, _TITLE_CHARACTERS), weight="bold")
        subfigures = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=heights)
        for subfigure, (_, draw) in zip(subfigures.flat, parts, strict=True):
            draw(subfigure, chart)
        stream = BytesIO()
        figure.savefig(stream, format="png")
    return _framed(stream)


def _framed(card: BytesIO) -> bytes:
    """Put a card with round corners into a frame; return a PNG."""
    with Image.open(card) as opened:
        content = opened.convert("RGB")
    large = tuple(_SMOOTHING * side for side in content.size)
    corners = Image.new("L", (large[0], large[1]))
    box = (0, 0, large[0] - 1, large[1] - 1)
    ImageDraw.Draw(corners).rounded_rectangle(box, _SMOOTHING * _CARD_RADIUS, fill=255)
    size = (content.width + 2 * _FRAME_PIXELS, content.height + 2 * _FRAME_PIXELS)
    framed = Image.new("RGB", size, FRAME)
    framed.paste(content, (_FRAME_PIXELS, _FRAME_PIXELS), corners.resize(content.size))
    stream = BytesIO()
    framed.save(stream, "PNG")
    return stream.getvalue()


def _installed_fonts() -> list[str]:
    installed = set(font_manager.get_font_names())
    return [name for name in _FONTS if name in installed]


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
        name.set(size=_FONT_SIZE - 2, color=_MUTED)
        _shrink_to_width(name, width)
        value = figure.text(x, top - 0.42 / rows, _shorten(fact.value, _FACT_CHARACTERS), va="top")
        colour = _WARNING if fact.is_warning else _TEXT
        value.set(size=_FONT_SIZE + 4, weight="bold", color=colour)
        _shrink_to_width(value, width)


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
        text.set(size=_FONT_SIZE - 2)
        _shrink_to_width(text, 1 - 1.5 * _MARGIN)


def _shrink_to_width(text: Text, width: float) -> None:
    """Reduce the font size of a text that is wider than a fraction of the picture."""
    extent = text.get_window_extent(dpi=_DPI).width
    if extent > width * _CARD_WIDTH:
        text.set_fontsize(float(text.get_fontsize()) * width * _CARD_WIDTH / extent)


def _panel_inches(panel: Panel) -> float:
    lines = max(len(row.name.splitlines()) for row in panel.rows)
    row = max(
        len(_series_with_bars(panel)) * _INCHES_PER_BAR, (lines > 1) * lines * _INCHES_PER_LINE
    )
    return _INCHES_PER_PANEL + len(panel.rows) * (_INCHES_PER_ROW + row)


def _series_with_bars(panel: Panel) -> list[int]:
    """Return the indices of the series that have bars in a panel."""
    return sorted({j for row in panel.rows for j, bar in enumerate(row.bars) if bar is not None})


def _colours(chart: Chart) -> tuple[str, ...]:
    """Return the colours of the series; a single one does not get the colour of warnings."""
    return _COLOURS if len(chart.series) > 1 else _COLOURS[1:]


def _draw_panel(axes: Axes, panel: Panel, colours: tuple[str, ...]) -> None:
    """Draw the rows of a panel; lengths are relative to the end of its axis."""
    series = _series_with_bars(panel)
    ends = [
        max(bar.value, bar.high or 0.0) for row in panel.rows for bar in row.bars if bar is not None
    ]
    longest = panel.end or max([*ends, 0.0]) or 1.0
    thickness = 0.8 / max(len(series), 1)
    texts: list[tuple[float, str]] = []
    for i, row in enumerate(panel.rows):
        for subfigure, j in enumerate(series):
            bar = row.bars[j]
            if bar is None:
                continue
            y = i + (subfigure - (len(series) - 1) / 2) * thickness
            colour = _MUTED_BAR if bar.is_muted else colours[j]
            axes.barh(y, bar.value / longest, thickness * 0.9, color=colour)
            end = bar.value
            if bar.low is not None and bar.high is not None:
                interval = [bar.low / longest, bar.high / longest]
                ink = _MUTED if bar.is_muted else _TEXT
                axes.plot(interval, [y, y], color=ink, linewidth=1.5)
                end = max(end, bar.high)
            text_x = end / longest + 0.02
            text = _shorten(bar.text, _TEXT_CHARACTERS)
            texts.append((text_x, text))
            ink = _MUTED if bar.is_muted else _TEXT
            axes.text(text_x, y, text, va="center", size=_FONT_SIZE - 1, color=ink)
    axes.set_title(_shorten(panel.title, _TITLE_CHARACTERS), loc="left", size=_FONT_SIZE)
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
    inches = (
        _CARD_WIDTH / _DPI * (1 - _MARGIN)
        - longest * _CHARACTER_ASPECT * _FONT_SIZE * _INCHES_PER_POINT
    )
    ends = (
        start / (1 - len(text) * _CHARACTER_ASPECT * (_FONT_SIZE - 1) * _INCHES_PER_POINT / inches)
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
            colour = _blend(_COLOURS[i == j], 0.15 + 0.85 * share)
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour))
            ink = "white" if _luminance(colour) < _WHITE_TEXT_BELOW else "black"
            axes.text(j, i, str(count), ha="center", va="center", color=ink)
    names = [f"{i}  {_shorten(name, _NAME_CHARACTERS)}" for i, name in enumerate(matrix.names, 1)]
    axes.set_title(_shorten(matrix.title, _TITLE_CHARACTERS), loc="left", size=_FONT_SIZE)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks(range(n), names)
    axes.set_xticks(range(n), [str(i) for i in range(1, n + 1)])
    axes.xaxis.tick_top()
    axes.tick_params(left=False, top=False)
    axes.hlines([i + 0.5 for i in range(n - 1)], -0.5, n - 0.5, color=_GRID, linewidth=0.8)
    axes.vlines([i + 0.5 for i in range(n - 1)], -0.5, n - 0.5, color=_GRID, linewidth=0.8)


def _blend(colour: str, share: float) -> tuple[float, float, float]:
    """Mix a colour with that of the card; return red, green and blue, 0 to 1."""
    mixed = share * np.array(to_rgb(colour)) + (1 - share) * np.array(to_rgb(CARD))
    red, green, blue = mixed.tolist()
    return red, green, blue


def _luminance(colour: tuple[float, float, float]) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _shorten(text: str, max_characters: int) -> str:
    """Shorten a text with an ellipsis if it is too long."""
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"
