"""Charts, and the worker process that draws them."""

from __future__ import annotations

import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from core.charts.chart import Bar, Chart, Fact, Matrix, Panel, Row
from core.charts.draw import WIDTH, draw_chart
from core.charts.drawer import ChartDrawer


def chart(rows: int = 2, name: str = "cat") -> Chart:
    bars = Bar(value=0.5, text="50% (n=4)", low=0.2, high=0.8), None
    panel = Panel(title="Same answer", rows=tuple(Row(name=name, bars=bars) for _ in range(rows)))
    return Chart(title="classic", series=("candidate", "live"), panels=(panel,))


def test_chart_is_as_wide_as_a_phone_and_grows_with_its_rows() -> None:
    few, many = (Image.open(BytesIO(draw_chart(chart(rows)))) for rows in (2, 20))
    assert few.format == "PNG"
    assert few.width == many.width == WIDTH
    assert many.height > 2 * few.height


@pytest.mark.parametrize("name", ["$x_{", "long " * 40, "ij → ß"])
def test_label_is_drawn_literally(name: str) -> None:
    assert draw_chart(chart(name=name)).startswith(b"\x89PNG")


def test_long_texts_are_not_cut_at_the_edge() -> None:
    long = "none of these →\nvery long name of"
    bars = Bar(value=1.0, text="96.2% (n=1,234,567,890)", low=0.9, high=1.0), None
    drawn = Chart(
        title="efficientnet-frozen",
        series=("candidate", "live"),
        facts=(
            Fact(name="Disk free (data: 1,234,567 MB)", value="123,456.7 of 1,234,567 GB"),
            Fact(name="Disk free (data: 1,234,567 MB)", value="123,456.7 of 1,234,567 GB"),
        ),
        panels=(Panel(title="Changed answers", rows=(Row(name=long, bars=bars),)),),
        notes=("efficientnet-frozen 333333333333 since 2026-11-27 06:00: 1,234,567 photos",),
    )
    picture = np.asarray(Image.open(BytesIO(draw_chart(drawn))).convert("L"))
    margin = 8
    assert picture[:, :margin].min() == picture[:, -margin:].min() == 255


def test_matrix_is_blue_where_both_agree_and_white_without_counts() -> None:
    matrix = Matrix(title="Columns", names=("cat", "dog"), counts=((5, 0), (1, 4)))
    picture = Image.open(BytesIO(draw_chart(Chart(title="Pets", matrix=matrix))))
    assert picture.width == WIDTH
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert (0, 114, 178) in colours
    # Text beside a white cell is legible in light and dark themes.
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_worker_draws_a_chart() -> None:
    drawn = ChartDrawer().draw(chart())
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "drawer",
    [
        ChartDrawer(is_installed=False),
        ChartDrawer((sys.executable, "-c", "raise SystemExit('broken')")),
        ChartDrawer((sys.executable, "-c", "input()\nwhile True: pass"), limit_s=0.5),
        ChartDrawer(("no-such-program",)),
    ],
    ids=["missing extra", "failure", "hang", "missing program"],
)
def test_undrawable_chart_is_left_out(drawer: ChartDrawer) -> None:
    assert drawer.draw(chart()) is None
