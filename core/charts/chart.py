"""Content of a chart: facts, panels of horizontal bars, matrices of counts, and notes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Bar", "Chart", "Fact", "Matrix", "Panel", "Row"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bar(_Part):
    """A bar.

    Attributes:
        value: Length of the bar, at least 0, in the unit of its panel.
        text: Text beside the bar.
        low, high: Ends of an interval around the value; None without an interval.
        is_muted: Whether it is drawn in grey, since it says little.
    """

    value: float
    text: str
    low: float | None = None
    high: float | None = None
    is_muted: bool = False


class Row(_Part):
    """One item, with a bar for each series.

    Attributes:
        name: Name of the item, in one or two lines.
        bars: One for each series of the chart; None where a series has none.
    """

    name: str
    bars: tuple[Bar | None, ...]


class Panel(_Part):
    """One or more rows with a common unit.

    Attributes:
        title: Title of the panel.
        rows: The rows, the first one on top.
        end: Value at the end of the axis; None for that of the longest bar.
    """

    title: str
    rows: tuple[Row, ...]
    end: float | None = None


class Matrix(_Part):
    """Counts by two assignments to the same classes, such as a confusion matrix.

    Attributes:
        title: Title of the matrix, above its columns.
        names: Names of the classes, at most ten to be legible on a phone. Columns show their
            numbers only.
        counts: One row for each class, with one count for each class.
    """

    title: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Fact(_Part):
    """A figure in large type, below its name.

    Attributes:
        name: Name of the figure.
        value: The figure.
        is_warning: Whether it asks for attention.
    """

    name: str
    value: str
    is_warning: bool = False


class Chart(_Part):
    """A chart, with at least one fact, panel or matrix.

    Attributes:
        title: Title of the chart.
        series: Names of the series of the bars, at most two; empty where there are none.
        panels: The panels from top to bottom.
        matrix: The matrix below the panels; None for none.
        facts: Figures above the panels, two in a row.
        notes: Lines below the panels.
    """

    title: str
    series: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    matrix: Matrix | None = None
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
