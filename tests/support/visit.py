"""Servers of the page, and actions of a visitor in a browser."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from core import locale
from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.servers import free_port, wait_until_it_answers

__all__ = [
    "LONGEST_LANGUAGE",
    "ONE_LANGUAGE",
    "PATIENCE_MS",
    "SIZES",
    "TABS",
    "TAB_KEYS",
    "choose_model",
    "fill",
    "keep_screenshot",
    "language_of",
    "new_page",
    "open_tab",
    "serious_violations",
    "serving",
    "settle",
    "upload_photo",
    "visit",
]

ONE_LANGUAGE = pytest.mark.parametrize(
    "blank",
    [
        pytest.param("en-US", marks=pytest.mark.long),
        "nl-NL",
        pytest.param("de-DE", marks=pytest.mark.long),
    ],
    indirect=True,
)
"""Runs a test in one language, and in all of them if long tests run."""
LONGEST_LANGUAGE = pytest.mark.parametrize(
    "blank",
    [
        pytest.param("en-US", marks=pytest.mark.long),
        pytest.param("nl-NL", marks=pytest.mark.long),
        "de-DE",
    ],
    indirect=True,
)
"""Runs a test in the language with the longest words, and in all of them if long tests run."""

# Generous: the machine may be busy with other things.
PATIENCE_MS = 240_000

_SCREENSHOTS = ROOT / "screenshots"
# An element of each tab.
TABS = {
    "Predict": "#photo",
    "Compare": "#compared-photo",
    "Batch": "#batch-photos",
    "Teach": "#teach-cards .card >> nth=0",
    "Models": "#leaderboard",
    "Data": "#data-counts",
    "About": "#programs",
}
TAB_KEYS = (
    *("tab_predict", "tab_compare", "tab_batch", "tab_teach", "tab_models", "tab_data"),
    "tab_about",
)
SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desktop": (1280, 900)}
# Serious violations in Gradio's own components, by rule and selector.
_GRADIOS = {("nested-interactive", 'button[aria-label="common.upload"]')}
# Two frames, so that what the last change starts is waited for too; what never ends is not.
_SETTLE = """async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    const moving = document.getAnimations().filter(
        each => each.effect.getComputedTiming().endTime < Infinity);
    await Promise.all(moving.map(each => each.finished.catch(() => {})));
}"""


@contextmanager
def serving(
    folder: Path, front: str = "web", *options: str, **settings: str
) -> Iterator[tuple[str, Fork]]:
    """Run `tensight web` or another command, and yield its address and the process."""
    port = free_port()
    log = folder / "web.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSIGHT_")}
    with log.open("wb") as stream:
        server = Fork(
            ["-m", "core.cli", front, "--port", str(port), *options],
            environment | {"PYTHONPATH": str(ROOT)} | settings,
            folder=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            kind="page",
        )
    host = settings.get("TENSIGHT_HOST", "127.0.0.1").strip("[]")
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    try:
        wait_until_it_answers(address, server, log)
        yield address, server
    finally:
        server.terminate()
        server.wait(120)
    assert "Traceback" not in log.read_text()


def new_page(browser: Browser, **options: Any) -> Page:
    """Open a page in a browser context of its own."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    return page


def visit(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#photo input[type=file]", state="attached")


def upload_photo(page: Page, photo: Path, where: str = "#photo") -> None:
    page.set_input_files(f"{where} input[type=file]", photo)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def choose_model(page: Page, title: str) -> None:
    """Choose a model in the selector of the tab Predict."""
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile(f"^{re.escape(title)} ·")).click()


def language_of(page: Page) -> locale.Language:
    """Return the language of the page in this browser."""
    return locale.language_of_tag(page.evaluate("navigator.language")) or "en"


def settle(page: Page) -> None:
    """Wait until animations have ended."""
    page.evaluate(_SETTLE)


def serious_violations(page: Page) -> set[tuple[str, str]]:
    """Return rule and selector of each serious violation that axe finds, except Gradio's own."""
    found = Axe().run(page).response["violations"]
    return {
        (each["id"], " ".join(map(str, node["target"])))
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    } - _GRADIOS


def keep_screenshot(page: Page, name: str) -> None:
    """Save a screenshot for review if the folder screenshots/ exists."""
    settle(page)  # bars grow to their length
    if _SCREENSHOTS.is_dir():
        page.screenshot(path=_SCREENSHOTS / f"{name}.png", full_page=True)


def fill(page: Page, name: str, photo: Path, text: Path, shown: str = "") -> None:
    """Open a tab and make it show as much as it can; `shown` is its name if not English."""
    open_tab(page, shown or name)
    expect(page.locator(TABS[name])).to_be_visible()
    if name == "Compare":
        upload_photo(page, photo, "#compared-photo")
        expect(page.locator("#compared .card").first).to_be_visible()
    elif name == "Batch":
        page.set_input_files("#batch-photos input[type=file]", [photo, text])
        expect(page.locator("#batch-photos tr.file")).to_have_count(2)
        page.locator("#batch-start").click()
        expect(page.locator("#batch-results li[data-kind=failed]").first).to_be_visible()
    elif name == "Models":
        expect(page.locator("#confusion tbody tr").first).to_be_visible()
        page.locator("#card").get_by_role("button").first.click()
        expect(page.locator("#card table").first).to_be_visible()
