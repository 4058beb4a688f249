"""The tab Teach in Chromium: two classes are taught, used and downloaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

from playwright.sync_api import Page, expect

import core
from tests.e2e.visit import give, keep_screenshot, open_tab
from tests.support.drawings import shape_jpeg

_EACH = 5


def _draw(folder: Path, kind: str, seeds: range) -> list[Path]:
    files = []
    for seed in seeds:
        file = folder / f"{kind}-{seed}.jpg"
        file.write_bytes(shape_jpeg(kind, seed))
        files.append(file)
    return files


def test_two_classes_are_taught_used_and_downloaded(page: Page, url: str, tmp_path: Path) -> None:
    open_tab(page, "Teach")
    cards = page.locator("#teach-cards .card")
    expect(cards).to_have_count(2)
    expect(page.locator("#teach-own")).to_be_hidden()
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said")).to_contain_text("Name a second class")
    page.locator("#teach-title").fill("Shapes")
    for i, kind in enumerate(("circle", "square")):
        cards.nth(i).locator(".teach-name").fill(kind)
        cards.nth(i).locator(".teach-files").set_input_files(
            _draw(tmp_path, kind, range(_EACH + 1))
        )
        expect(cards.nth(i).locator(".teach-photos img")).to_have_count(_EACH + 1)
        cards.nth(i).locator(".teach-remove").last.click()
        expect(cards.nth(i).locator(".small")).to_have_text(f"{_EACH} photos")
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said")).to_contain_text("Your classifier is ready.")
    expect(page.locator("#teach-report")).to_contain_text("of 10 photos were recognised")
    expect(page.locator("#teach-report .confusion tbody tr")).to_have_count(2)
    (unseen,) = _draw(tmp_path, "square", range(50, 51))
    give(page, unseen, "#teach-photo")
    expect(page.locator("#teach-scores .bars li").first).to_contain_text("square")
    keep_screenshot(page, "teach")

    with page.expect_download() as told:
        page.locator("#teach-download").click()
    assert told.value.suggested_filename == "shapes.zip"
    with zipfile.ZipFile(told.value.path()) as archive:
        archive.extractall(tmp_path / "download")
    prediction = core.load(str(tmp_path / "download" / "shapes")).predict(unseen)
    assert prediction.label == "square"
    shown = page.locator("#teach-scores .bars li").first
    expect(shown).to_contain_text(f"{prediction.confidence:.0%}".replace("100%", ">99%"))

    page.goto(f"{url}/{page.locator('#teach-link a').get_attribute('href')}")
    give(page, unseen)
    expect(page.locator("#timing")).to_contain_text("Shapes · ")
    open_tab(page, "Teach")
    expect(page.locator("#teach-model input")).to_have_value("Shapes")
    page.locator("#teach-delete").click()
    expect(page.locator("#teach-own")).to_be_hidden()
