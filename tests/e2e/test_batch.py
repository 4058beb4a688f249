"""The tab Batch in Chromium: many photos, a folder, a zip file."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from tests.support import drawings
from tests.support.catalogs import SlowCatalog
from tests.support.visit import (
    keep_screenshot,
    open_tab,
)

# A script cannot make the entries of a folder that is dropped: these behave like them.
_DROP = """place => {
    const fileOf = name => ({
        name, isFile: true, file: done => done(new File([name], name, {type: "image/jpeg"})),
    });
    const folderOf = (name, entries) => ({name, isDirectory: true, createReader: () => {
        const parts = [entries, []];
        return {readEntries: done => done(parts.shift())};
    }});
    const inner = folderOf("inner", [fileOf("2.jpg"), fileOf(".hidden.jpg")]);
    const folder = folderOf("folder", [fileOf("1.jpg"), inner]);
    const event = new Event("drop", {bubbles: true, cancelable: true});
    event.dataTransfer = {items: [{webkitGetAsEntry: () => folder}]};
    place.dispatchEvent(event);
}"""

# As a browser drops a file from the desktop of its visitor.
_HOLD_FILE = """([name, type, content]) => {
    const bytes = Uint8Array.from(atob(content), each => each.charCodeAt(0));
    const held = new DataTransfer();
    held.items.add(new File([bytes], name, {type}));
    return held;
}"""

_BADGES = {"known": "Recognised", "unsure": "Unsure", "none": "None of these"}


def test_batch_shows_progress_and_leaves_no_files(
    photo: Path, text: Path, visiting: Callable[..., Page]
) -> None:
    slow = SlowCatalog()
    page = visiting(LocalPredictor(slow, queue_size=8, deadline_s=30))
    open_tab(page, "Batch")
    page.set_input_files("#batch-photos input[type=file]", [photo, text])
    expect(page.locator("#batch-photos tr.file")).to_have_count(2)
    try:
        page.locator("#batch-start").click()
        expect(page.get_by_text("/2 photos").first).to_be_visible()
    finally:
        slow.go.set()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2 photos classified.")
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    assert [path for path in uploads.rglob("*") if path.is_file() and not path.stat().st_size] == []


def test_batch_shows_results_filters_and_downloads(
    page: Page, photo: Path, tmp_path: Path, catalog: Catalog
) -> None:
    text = tmp_path / "bad.jpg"
    text.write_text("no photo at all")
    open_tab(page, "Batch")
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("Choose some photos first.")
    page.set_input_files("#batch-photos input[type=file]", [photo, text])
    expect(page.locator("#batch-photos tr.file")).to_have_count(2)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2 photos classified.")
    expect(page.locator("#batch-results .gallery li[data-kind=failed]")).to_contain_text(
        "This file is not a photo."
    )
    expect(page.locator("#batch-results .gallery img")).to_have_count(1)
    keep_screenshot(page, "batch")
    expected = catalog.load("classic").predict(photo)
    badges = page.locator("#batch-results .gallery .badge")
    expect(badges).to_have_text([_BADGES[expected.verdict], "Failed"])
    expect(page.locator("#batch-counts li")).to_have_text([f"{expected.label}1"])
    page.locator("#batch-results [data-show=failed]").click()
    expect(page.locator("#batch-results .gallery li:visible")).to_have_count(1)
    with page.expect_download() as told:
        page.locator("#batch-json").click()
    good, bad = json.loads(told.value.path().read_text())
    assert (good["photo"], good["scores"]) == ("ship.jpg", expected.scores)
    assert (bad["photo"], bad["error"]["code"]) == ("bad.jpg", "not_an_image")
    with page.expect_download() as told:
        page.locator("#batch-csv").click()
    first, second = csv.DictReader(told.value.path().read_text().splitlines())
    assert float(first["confidence"]) == expected.confidence
    assert second["error"] == "not_an_image"


def test_folder_of_100_with_two_bad_files_is_classified(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(98):
        (folder / f"{i:02}.jpg").write_bytes(photo.read_bytes())
    for name in ("bad-1.jpg", "bad-2.jpg"):
        (folder / name).write_text("no photo at all")
    open_tab(page, "Batch")
    expect(page.locator("#batch-folder")).to_be_attached()
    page.set_input_files("#batch-folder", folder)
    expect(page.locator("#batch-photos tr.file")).to_have_count(100)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("98 of 100")
    expect(page.locator("#batch-results li[data-kind=failed]")).to_have_count(2)


def test_files_of_a_dropped_folder_are_uploaded(page: Page) -> None:
    open_tab(page, "Batch")
    expect(page.locator("#batch-photos input[type=file]")).to_be_attached()
    page.locator("#batch-photos").evaluate(_DROP)
    names = page.locator("#batch-photos tr.file")
    expect(names).to_have_text([re.compile(r"^\s*1\s*\.jpg"), re.compile(r"^\s*2\s*\.jpg")])


def test_zip_file_is_classified(page: Page, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(photo, "in/ship.jpg")
        archive.writestr("in/bad.jpg", "no photo at all")
    open_tab(page, "Batch")
    page.set_input_files("#batch-photos input[type=file]", path)
    expect(page.locator("#batch-photos tr.file")).to_have_count(1)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2")


def test_dropped_zip_file_is_classified(page: Page, catalog: Catalog) -> None:
    ship, packed = drawings.ship(640, 480), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, archive.open("holiday/ship.png", "w") as entry:
        ship.save(entry, "PNG")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("holiday/circle.jpg", drawings.shape_jpeg("circle", 0))
        archive.writestr("holiday/unreadable.jpg", "no photo at all")
    content = base64.b64encode(packed.getvalue()).decode()
    open_tab(page, "Batch")
    place = page.locator("#batch-photos button:has(input[type=file])")
    expect(place).to_be_visible()
    held = page.evaluate_handle(_HOLD_FILE, ["holiday.zip", "application/zip", content])
    place.dispatch_event("drop", {"dataTransfer": held})
    expect(page.locator("#batch-photos tr.file")).to_have_count(1)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("2 of 3 photos classified.")
    shown = page.locator("#batch-results .gallery li")
    expect(shown).to_contain_text(["ship.png", "circle.jpg", "unreadable.jpg"])
    expect(shown.locator(".badge").first).to_have_text(
        _BADGES[catalog.load("classic").predict(ship).verdict]
    )
    expect(shown.last).to_contain_text("This file is not a photo.")
