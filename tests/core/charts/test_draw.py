"""Charts, and the worker process that draws them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageColor

from core.charts.chart import Bar, Chart, Fact, Matrix, Panel, Row
from core.charts.draw import CARD, FRAME, WIDTH, draw_chart

# Colours of texts and of bars.
INKS = ("#1B1F24", "#4A5057", "#B34A00")
BARS = ("#D55E00", "#0072B2", "#8A929C")


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
    picture = np.asarray(Image.open(BytesIO(draw_chart(drawn))).convert("RGB"))
    rows = slice(100, -100)  # without the round corners
    for columns in (slice(12, 20), slice(-20, -12)):
        assert (picture[rows, columns] == ImageColor.getrgb(CARD)).all()


def test_matrix_is_blue_where_both_agree_and_white_without_counts() -> None:
    matrix = Matrix(title="Columns", names=("cat", "dog"), counts=((5, 0), (1, 4)))
    picture = Image.open(BytesIO(draw_chart(Chart(title="Pets", matrix=matrix))))
    assert picture.width == WIDTH
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert (0, 114, 178) in colours


@pytest.mark.parametrize("chat", ["#FFFFFF", "#EFE7DD", "#17212B", "#0E1621", "#000000"])
def test_frame_separates_the_card_from_the_chat_in_any_theme(chat: str) -> None:
    picture = Image.open(BytesIO(draw_chart(chart()))).convert("RGB")
    width, height = picture.size
    edge = {picture.getpixel((x, y)) for x, y in ((0, 0), (width - 1, 0), (5, height // 2))}
    assert edge == {ImageColor.getrgb(FRAME)}
    assert picture.getpixel((20, height // 2)) == ImageColor.getrgb(CARD)
    # What WCAG 2 asks of graphical objects; the brown of one theme is between white and the frame.
    assert contrast(FRAME, chat) >= (2.5 if chat == "#EFE7DD" else 3.0)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        linear = [((c / 255 + 0.055) / 1.055) ** 2.4 for c in ImageColor.getrgb(colour)[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("colour", "at_least"), [*((c, 4.5) for c in INKS), *((c, 2.8) for c in BARS)]
)
def test_inks_and_bars_are_legible_on_the_card(colour: str, at_least: float) -> None:
    assert contrast(colour, CARD) >= at_least


def test_bar_that_says_little_is_grey() -> None:
    bar = Bar(value=1.0, text="100% (n=1)", is_muted=True)
    drawn = Chart(title="x", panels=(Panel(title="p", rows=(Row(name="cat", bars=(bar,)),)),))
    picture = Image.open(BytesIO(draw_chart(drawn))).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert (0, 114, 178) not in colours
