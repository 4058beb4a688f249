"""The tab Compare in Chromium."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from core.bundle.folder import find_bundles
from tests.conftest import ROOT
from tests.support.visit import (
    keep_screenshot,
    open_tab,
    upload_photo,
)

# Texts of a chart that are not in it as a whole.
_CUT_OFF = """chart => {
    const edge = chart.getBoundingClientRect();
    return [...chart.querySelectorAll("text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < edge.left || box.right > edge.right;
    }).map(text => text.textContent);
}"""


def test_compare_button_passes_on_the_photo(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    page.locator("#action-compare").click()
    models = len(find_bundles(ROOT / "models"))
    expect(page.locator("#compared .card")).to_have_count(models)
    expect(page.locator("#compared-photo img").first).to_be_visible()


def test_models_are_compared(page: Page, photo: Path) -> None:
    open_tab(page, "Compare")
    upload_photo(page, photo, "#compared-photo")
    models = len(find_bundles(ROOT / "models"))
    expect(page.locator("#compared .card")).to_have_count(models)
    expect(page.locator("#compared .card .bars li")).to_have_count(3 * models)
    expect(page.locator("#agreement")).to_contain_text("models say")
    dots = page.locator("#compare-chart .dot")
    expect(dots).to_have_count(models)
    assert page.locator("#compare-chart svg").evaluate(_CUT_OFF) == []
    keep_screenshot(page, "compare")


def test_compare_works_without_the_teaching_script(page: Page, photo: Path) -> None:
    open_tab(page, "Compare")
    page.evaluate("() => { delete window.tensight.teach; }")
    upload_photo(page, photo, "#compared-photo")
    expect(page.locator("#agreement")).to_contain_text("models say")
