"""The page at the widths of a phone, a tablet and a desktop."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.visit import (
    SIZES,
    TABS,
    fill,
    give,
    keep_screenshot,
    open_tab,
    settle,
)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_first_screen_holds_photo_verdict_and_three_bars(
    page: Page, photo: Path, size: tuple[int, int]
) -> None:
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    settle(page)
    assert page.evaluate("scrollY") == 0
    bars = page.locator("#scores li:visible")
    expect(bars).to_have_count(3)
    for part in (page.locator("#photo .image-frame img"), page.locator("#verdict"), bars.last):
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
        assert box["x"] + box["width"] <= width
    keep_screenshot(page, f"answer-{width}")


@pytest.mark.parametrize("width", [360, 375])
def test_phone_needs_no_horizontal_scrolling(
    page: Page, photo: Path, text: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    give(page, photo)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    wide = {}
    for name in TABS:
        fill(page, name, photo, text)
        keep_screenshot(page, f"phone-{width}-{name.lower()}")
        wide[name] = page.evaluate("document.documentElement.scrollWidth")
    assert wide == dict.fromkeys(TABS, width)


def test_desktop_shows_models_side_by_side(page: Page, photo: Path, text: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    wide = set()
    for name in TABS:
        fill(page, name, photo, text)
        wide.add(page.evaluate("document.querySelector('.gradio-container').clientWidth"))
    assert wide == {1100}
    page.set_viewport_size({"width": 1000, "height": 800})
    assert page.evaluate("document.querySelector('main').clientWidth") > 900
    page.set_viewport_size({"width": 1280, "height": 800})
    open_tab(page, "Compare")
    tops = [box["y"] for card in page.locator(".card").all() if (box := card.bounding_box())]
    assert tops.count(tops[0]) >= 2
