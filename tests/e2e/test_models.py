"""The tab Models in Chromium."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from core.registry.catalog import Catalog
from tests.support.visit import (
    SIZES,
    keep_screenshot,
    open_tab,
)

_SCROLL = """(part, share) => {
    part.scrollLeft = share * part.scrollWidth;
    return part.scrollLeft;
}"""


def test_models_tab_shows_the_figures_of_every_model(page: Page, catalog: Catalog) -> None:
    open_tab(page, "Models")
    for entry in catalog.models():
        title = re.compile(f"^{re.escape(entry.config.title)}$")
        row = page.locator("#leaderboard tr", has=page.get_by_role("rowheader", name=title))
        test, reported = entry.metrics.test_accuracy, entry.metrics.reported
        expect(row.locator("td").nth(2)).to_have_text(
            f"{test.share:.1%} (n = {test.n:,}) {100 * test.low:.1f} to {test.high:.1%}"
        )
        expect(row.locator("td").nth(3)).to_have_text(
            f"{reported.accuracy:.1%}" if reported else "–"
        )
    expect(page.locator("#confusion tbody tr")).to_have_count(10)
    expect(page.locator("#curves")).to_contain_text("Trained for ")
    expect(page.locator("#reliability")).to_contain_text("On 10,000 test images, ")
    for part in ("#curves", "#reliability", "#models-chart"):
        expect(page.locator(f"{part} svg.chart")).to_be_visible()
    told = [
        f"{each.label}{each.precision:.3f}{each.recall:.3f}{each.f1:.3f}{each.support:,}"
        for each in catalog.bundle("classic").metrics().test.classes
    ]
    expect(page.locator("#classes tbody tr")).to_have_text(told)
    keep_screenshot(page, "models")
    page.locator("#picked input").click()
    page.get_by_role("option", name="Baseline CNN").click()
    first = catalog.bundle("baseline").metrics().test.confusion[0][0]
    expect(page.locator("#confusion tbody td").first).to_have_text(str(first))
    page.locator("#card").get_by_role("button").first.click()
    expect(page.locator("#card")).to_contain_text("Two convolutions and two dense layers")


def test_captions_stay_in_view_while_tables_are_scrolled(page: Page) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    open_tab(page, "Models")
    for part in ("#confusion", "#leaderboard"):
        scrolled, caption = page.locator(f"{part} .wide"), page.locator(f"{part} caption span")
        expect(caption).not_to_be_empty()
        places = []
        for share in (0, 1):
            assert (scrolled.evaluate(_SCROLL, share) > 0) == (share > 0), part
            box = caption.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width
            places.append(box["x"])
        assert places[0] == places[1] >= 0
