"""Charts drawn by a worker process."""

from __future__ import annotations

import sys

import pytest

from core.charts.chart import Bar, Chart, Panel, Row
from core.charts.drawer import ChartDrawer


def chart(rows: int = 2, name: str = "cat") -> Chart:
    bars = Bar(value=0.5, text="50% (n=4)", low=0.2, high=0.8), None
    panel = Panel(title="Same answer", rows=tuple(Row(name=name, bars=bars) for _ in range(rows)))
    return Chart(title="classic", series=("candidate", "live"), panels=(panel,))


def test_worker_draws_a_chart() -> None:
    drawn = ChartDrawer().draw(chart())
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "drawer",
    [
        ChartDrawer(is_installed=False),
        ChartDrawer((sys.executable, "-c", "raise SystemExit('broken')")),
        ChartDrawer((sys.executable, "-c", "input()\nwhile True: pass"), timeout_s=0.5),
        ChartDrawer(("no-such-program",)),
    ],
    ids=["missing extra", "failure", "hang", "missing program"],
)
def test_undrawable_chart_is_left_out(drawer: ChartDrawer) -> None:
    assert drawer.draw(chart()) is None
