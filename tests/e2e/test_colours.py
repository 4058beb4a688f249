"""The colours of the page, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.visit import fill, settle, visit

# Names of rows hide the cells that are scrolled beneath them, and do not stand out themselves.
_ODD_CELLS = """() => {
    const color = each => getComputedStyle(each).backgroundColor;
    const behind = each => color(each) === "rgba(0, 0, 0, 0)" && each.parentElement
        ? behind(each.parentElement) : color(each);
    return [...document.querySelectorAll(".wide :is(th, td):first-child")]
        .filter(cell => cell.checkVisibility() && color(cell) !== behind(cell.closest(".wide")))
        .map(cell => `${cell.textContent}: ${color(cell)}`);
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_of_rows_have_the_colour_behind_their_table(
    blank: Page, url: str, photo: Path, text: Path, theme: str
) -> None:
    page = blank
    visit(page, f"{url}/?__theme={theme}")
    for name in ("Models", "Data", "About"):
        fill(page, name, photo, text)
        settle(page)
        assert page.locator(".wide:visible").count() or name == "About"
        assert page.evaluate(_ODD_CELLS) == []
