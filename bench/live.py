"""Live predictions of the page."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page

from bench.browser import chromium
from bench.figures import Section
from bench.photos import Photos
from tests.support.visit import serving, visit

__all__ = ["live"]

_SECONDS = 10
_TIMEOUT_MS = 300_000
_COUNT = "() => Number(document.querySelector('#live-answer [data-answers]')?.dataset.answers || 0)"


def live(_: Photos, folder: Path) -> Section:
    """Count the live predictions that one visitor gets, and each of two.

    Args:
        folder: Folder for log files.
    """
    section = Section(
        "Live predictions",
        f"Predictions per second by the default model over {_SECONDS} s, on a page with the fake "
        "camera of Chromium, which runs on the same machine.",
    )
    settings = {"TENSIGHT_HOME": str(folder / "home")}
    with chromium(section) as browser:
        if browser is None:
            return section
        with serving(folder, **settings) as (address, _server):
            (alone,) = _rates(browser, address, visitors=1)
            section.add("live: one visitor", alone, "predictions per second", "at least 5")
            slower, faster = sorted(_rates(browser, address, visitors=2))
            section.add("live: the slower of two visitors", slower, "predictions per second")
            section.add("live: the faster of two visitors", faster, "predictions per second")
    return section


def _rates(browser: Browser, address: str, *, visitors: int) -> list[float]:
    """Return the predictions per second of visitors at the same time."""
    contexts = [browser.new_context(permissions=["camera"]) for _ in range(visitors)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.set_default_timeout(_TIMEOUT_MS)
        visit(page, address)
        page.locator("#live").click()
    for page in pages:
        page.wait_for_function(f"({_COUNT})() > 3")
    before = [_count(page) for page in pages]
    pages[0].wait_for_timeout(1000 * _SECONDS)
    rates = [(_count(page) - n) / _SECONDS for page, n in zip(pages, before, strict=True)]
    for context in contexts:
        context.close()
    return rates


def _count(page: Page) -> int:
    return int(page.evaluate(_COUNT))
