"""The page at the widths of a phone, a tablet and a desktop."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from core import locale
from core.registry.catalog import Catalog
from demo.model_choice import choice
from demo.tabs import examples
from tests.support.visit import (
    LONGEST_LANGUAGE,
    SIZES,
    TAB_KEYS,
    TABS,
    fill,
    keep_screenshot,
    language_of,
    open_tab,
    settle,
    upload_photo,
)

_BOXES = """parts => parts.map(part => {
    const box = part.getBoundingClientRect();
    return {x: box.x, y: box.y, right: box.right};
})"""
_BOTTOMS = "parts => parts.map(part => part.getBoundingClientRect().bottom)"
_HAVE_LINES = """lines => {
    const parts = [...document.querySelectorAll("#examples button span")];
    return parts.length == lines.length && parts.every((part, i) => {
        const range = document.createRange();
        range.selectNodeContents(part);
        const tops = [...range.getClientRects()].map(box => Math.round(box.top));
        return new Set(tops).size == lines[i];
    });
}"""
_CUT_OFF = """(input, texts) => texts.filter(text => {
    input.value = text;
    return input.scrollWidth > input.clientWidth;
})"""

# Nearest named part of everything that can be seen or read without scrolling, else its own text.
_ABOVE_THE_FOLD = """parts => {
    const shown = [...document.querySelectorAll("body *")].filter(each => {
        const box = each.getBoundingClientRect();
        const says = [...each.childNodes].some(node => node.nodeType == 3 && node.data.trim());
        return (says || each.matches("img, svg, video, button, input, textarea"))
            && box.width > 1 && box.height > 1 && box.top < innerHeight && box.bottom > 0
            && each.checkVisibility({visibilityProperty: true, opacityProperty: true});
    });
    const named = each => parts.find(part => each.closest(part)) ?? each.outerHTML;
    return [...new Set(shown.map(named))].sort();
}"""


def test_first_screen_holds_photo_verdict_and_three_bars(page: Page, photo: Path) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    bars = page.locator("#scores li:visible")
    parts = (page.locator("#photo .image-frame img"), page.locator("#verdict"), bars.last)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        assert page.evaluate("scrollY") == 0
        expect(bars).to_have_count(3)
        for part in parts:
            box = part.bounding_box()
            assert box is not None
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= height
            assert box["x"] + box["width"] <= width
        keep_screenshot(page, f"answer-{width}")


def test_answer_stands_beside_the_photo_or_below_it_with_its_actions(
    page: Page, photo: Path
) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    actions = page.locator("#actions button:visible")
    texts = locale.page_texts("en")
    names = ("why", "compare", "right", "wrong", "share")
    expect(actions).to_have_text([texts[f"action_{name}"] for name in names])
    parts = ("#photo", "#verdict", "#scores", "#actions", "#model", "#examples", "#options")
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        assert len({box["y"] for box in actions.evaluate_all(_BOXES)}) == 1
        boxes = [page.locator(part).evaluate_all(_BOXES)[0] for part in parts]
        # In this order from top to bottom; the photo begins at the height of the verdict where it
        # stands beside it.
        tops = [box["y"] for box in boxes]
        assert tops[1:] == sorted(tops[1:])
        beside = boxes[0]["right"] <= boxes[1]["x"]
        assert beside == (tops[1] < tops[0] + 40) == (name != "phone")
        title, intro = page.locator("#title, #intro").evaluate_all(_BOXES)
        assert (title["right"] <= intro["x"]) == (name == "desktop")


@LONGEST_LANGUAGE
def test_first_screen_of_a_desktop_holds_photo_and_answer_only(page: Page, photo: Path) -> None:
    width, height = SIZES["desktop"]
    page.set_viewport_size({"width": width, "height": height})
    # The examples are in sight until there is a photo.
    expect(page.locator("#examples button").last).to_be_in_viewport(ratio=1)
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    settle(page)
    around = ["#title", "[role=tablist]"]
    answer = ["#verdict", "#scores", "#actions", "#keep", "#model"]
    shown = [*around, "#photo-column", *answer]
    assert page.evaluate(_ABOVE_THE_FOLD, shown) == sorted(shown)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    shown.append("#explained")
    assert page.evaluate(_ABOVE_THE_FOLD, shown) == sorted(shown)
    # Both columns reach from the tabs to the fold, and the photo has the larger part of the width.
    ends = page.locator("#photo, #model").evaluate_all(_BOTTOMS)
    assert all(height - 40 < end <= height for end in ends)
    column = page.locator("#photo-column").bounding_box()
    beside = page.locator("#answer-column").bounding_box()
    assert column is not None
    assert beside is not None
    assert column["width"] > beside["width"]
    assert column["width"] + beside["width"] > 1000


@LONGEST_LANGUAGE
def test_first_screen_of_a_phone_holds_the_longest_verdict(page: Page) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    page.locator("#examples button[data-name=cat_turned]").click()
    expect(page.locator("#verdict h2.none")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    settle(page)
    last = page.locator("#scores li:visible").nth(2)
    for part in (page.locator("#photo .image-frame img"), page.locator("#verdict"), last):
        expect(part).to_be_in_viewport(ratio=1)


@LONGEST_LANGUAGE
def test_names_of_examples_fit_their_thumbnails_on_a_phone(page: Page) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    texts = locale.page_texts(language_of(page))
    named = [texts[f"example_{name}"] for name in examples.NAMES]
    names = page.locator("#examples button span")
    expect(names).to_have_text(named)
    # Waited for, since the styles of the page may be applied after its texts.
    page.wait_for_function(_HAVE_LINES, arg=[min(len(name.split()), 2) for name in named])


@LONGEST_LANGUAGE
def test_tabs_are_in_one_row_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    words = locale.page_texts(language_of(page))
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_text([words[key] for key in TAB_KEYS])
    assert len({box["y"] for box in tabs.evaluate_all(_BOXES)}) == 1
    # Where the names are too long for the screen, the row scrolls to the tab that is touched.
    for tab in (tabs.last, tabs.first):
        tab.click()
        expect(tab).to_be_in_viewport(ratio=0.95)  # a row scrolls by whole pixels
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@LONGEST_LANGUAGE
def test_model_selector_shows_its_text_in_full(page: Page, catalog: Catalog) -> None:
    language = language_of(page)
    expect(page.locator("#model input")).to_have_value(re.compile(r" ms\b"))
    texts = [choice(each, language)[0] for each in catalog.models()]
    for tab, selector in (("tab_predict", "#model input"), ("tab_batch", "#batch-model input")):
        open_tab(page, locale.page_texts(language)[tab])
        for width in (360, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.locator(selector).evaluate(_CUT_OFF, texts) == [], (tab, width)


def test_narrow_page_needs_no_horizontal_scrolling(page: Page, photo: Path, text: Path) -> None:
    widths = (360, 375, 768)
    page.set_viewport_size({"width": widths[0], "height": 700})
    upload_photo(page, photo)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    wide = {}
    for name in TABS:
        fill(page, name, photo, text)
        for width in widths:
            page.set_viewport_size({"width": width, "height": 700})
            keep_screenshot(page, f"{width}-{name.lower()}")
            wide[name, width] = page.evaluate("document.documentElement.scrollWidth")
    assert wide == {(name, width): width for name in TABS for width in widths}


def test_desktop_shows_models_side_by_side(page: Page, photo: Path, text: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    wide = set()
    for name in TABS:
        fill(page, name, photo, text)
        keep_screenshot(page, f"1280-{name.lower()}")
        wide.add(page.evaluate("document.querySelector('.gradio-container').clientWidth"))
    assert wide == {1100}
    page.set_viewport_size({"width": 1000, "height": 800})
    assert page.evaluate("document.querySelector('main').clientWidth") > 900
    page.set_viewport_size({"width": 1280, "height": 800})
    open_tab(page, "Compare")
    tops = [box["y"] for card in page.locator(".card").all() if (box := card.bounding_box())]
    assert tops.count(tops[0]) >= 2
