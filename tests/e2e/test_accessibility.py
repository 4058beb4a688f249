"""The page by keyboard alone, and the accessibility violations that axe finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core import locale
from tests.support.visit import (
    TAB_KEYS,
    TABS,
    fill,
    keep_screenshot,
    language_of,
    open_tab,
    serious_violations,
    settle,
    upload_photo,
    visit,
)


def tab_to(page: Page, what: str) -> None:
    """Press the tab key until an element is reached."""
    reached = "what => document.activeElement.matches(what)"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(reached, what):
            return
    raise AssertionError(f"keys do not reach {what}")


def test_page_works_with_the_keyboard_alone(page: Page, photo: Path) -> None:
    # Asked for before the key is pressed: a busy browser opens a window of its own otherwise.
    page.on("filechooser", lambda chooser: chooser.set_files(photo))
    tab_to(page, "#photo [data-testid=upload-button], #photo button[aria-label*=upload]")
    page.keyboard.press("Enter")
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    tab_to(page, "#action-why")
    page.keyboard.press("Enter")
    expect(page.locator("#photo .heat")).to_be_visible()
    tab_to(page, "#action-right")
    page.keyboard.press("Enter")
    expect(page.locator("#thanks")).to_contain_text("Thank you.")
    tab_to(page, "#model input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#timing")).not_to_contain_text("Classic CNN · ")
    tab_to(page, "#examples button")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict h2")).to_contain_text("cat")
    tab_to(page, "button[role=tab]:nth-of-type(2)")
    page.keyboard.press("Enter")
    expect(page.locator("#compared-photo")).to_be_visible()


@pytest.mark.parametrize(
    ("blank", "theme", "width"),
    # The first two have each theme and each width; each takes a quarter of a minute.
    [
        ("en-US", "light", 1280),
        ("nl-NL", "dark", 360),
        pytest.param("en-US", "dark", 1280, marks=pytest.mark.long),
        pytest.param("en-US", "dark", 360, marks=pytest.mark.long),
        pytest.param("nl-NL", "light", 1280, marks=pytest.mark.long),
        pytest.param("de-DE", "light", 360, marks=pytest.mark.long),
    ],
    indirect=["blank"],
)
def test_page_has_no_serious_accessibility_violation(
    blank: Page, url: str, photo: Path, text: Path, theme: str, width: int
) -> None:
    page = blank
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, f"{url}/?__theme={theme}")
    language = language_of(page)
    words = locale.page_texts(language)
    upload_photo(page, photo)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    page.locator("#options").get_by_role("button").first.click()
    page.locator("#action-wrong").click()
    expect(page.locator("#truth")).to_be_visible()
    keep_screenshot(page, f"{language}-{theme}-{width}")
    found = set()
    for name, key in zip(TABS, TAB_KEYS, strict=True):
        fill(page, name, photo, text, words[key])
        if name == "Predict":
            page.locator("#examples button").first.hover()
        settle(page)
        found |= serious_violations(page)
    open_tab(page, words["tab_predict"])
    page.locator("#live").click()
    expect(page.locator("#live-answer h2")).to_be_visible()
    found |= serious_violations(page)
    assert found == set()
