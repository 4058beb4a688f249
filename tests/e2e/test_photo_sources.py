"""Photos from the webcam, dropped and pasted, in Chromium."""

from __future__ import annotations

import base64
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect


def test_webcam_photo_is_classified(page: Page) -> None:
    page.locator("#photo").get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")


def test_dropped_photo_is_classified(page: Page, photo: Path) -> None:
    data = base64.b64encode(photo.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """data => {
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "ship.jpg", {type: "image/jpeg"}));
            return transfer;
        }""",
        data,
    )
    area = page.locator("#photo").get_by_label("Drop an image file here")
    area.dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")


def test_pasted_photo_is_classified(page: Page, photo: Path, tmp_path: Path) -> None:
    png = tmp_path / "ship.png"
    Image.open(photo).save(png)
    page.evaluate(
        """async data => {
            const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
            const blob = new Blob([bytes], {type: "image/png"});
            await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        base64.b64encode(png.read_bytes()).decode(),
    )
    page.locator("#photo").get_by_label("Paste from clipboard").click()
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
