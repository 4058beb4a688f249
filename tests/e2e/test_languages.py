"""The page in the language of the browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core import locale
from core.errors import ImageError
from core.photos.decode import MAX_BYTES
from tests.support.visit import (
    keep_screenshot,
    language_of,
    open_tab,
    upload_photo,
)


@pytest.mark.parametrize("blank", ["en-US", "nl-NL"], indirect=True)
def test_too_large_file_is_refused_in_the_language_of_the_browser(
    page: Page, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(MAX_BYTES + 1))
    upload_photo(page, large)
    told = locale.format_error(ImageError("too_large", ""), language_of(page))
    expect(page.get_by_test_id("toast-text")).to_have_text(told)


@pytest.mark.parametrize("blank", ["nl-NL", "de-DE"], indirect=True)
def test_page_uses_the_language_of_the_browser(page: Page, photo: Path) -> None:
    language = language_of(page)
    words = locale.page_texts(language)
    expect(page.locator("#intro")).to_have_text(words["intro"])
    expect(page.locator("#examples")).to_contain_text(words["example_cat_turned"])
    expect(page.locator("#model input")).to_have_value(re.compile(r"\d\d% · \d,\d ms"))
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text(re.compile(r" · \d+,\d ms "))
    expect(page.locator("#action-why")).to_have_text(words["action_why"])
    open_tab(page, words["tab_models"])
    expect(page.locator("#leaderboard")).to_contain_text(words["models_report"])
    keep_screenshot(page, language)
