"""Fixtures of the tests in a browser: a served page, and Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.serving.local import LocalPredictor
from core.store.store import Store
from tests.demo.running import served
from tests.e2e.visit import (
    PATIENCE_MS,
    new_page,
    serving,
    visit,
)
from tests.support.chromium import FLAGS


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `tensight web`, and return its address."""
    folder = tmp_path_factory.mktemp("web")
    settings = {"TENSIGHT_MODEL": "classic", "TENSIGHT_HOME": str(folder / "home")}
    with serving(folder, **settings) as (address, _):
        yield address


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """Start Debian's Chromium without a window.

    Playwright runs an event loop in this thread meanwhile, so no test here can call asyncio.run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        expect.set_options(timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def blank(url: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open an empty tab; a request to anything but the page fails the test."""
    context = browser.new_context(
        locale=getattr(request, "param", "en-US"),
        permissions=["camera", "clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    yield page
    context.close()
    assert [a for a in asked if not a.startswith((url, "data:", "blob:"))] == []


@pytest.fixture
def page(blank: Page, url: str) -> Page:
    """Open the page in a browser."""
    visit(blank, url)
    return blank


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return a text file whose name ends like that of a photo."""
    path = tmp_path / "bad.jpg"
    path.write_text("no photo at all")
    return path


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that serves a page in this process and opens it."""
    with ExitStack() as stack:

        def open_page(
            predictor: LocalPredictor, store: Store | None = None, **options: Any
        ) -> Page:
            stack.callback(predictor.close)
            url = stack.enter_context(served(predictor, store=store, **options))
            page = stack.enter_context(closing(new_page(browser)))
            visit(page, url)
            return page

        yield open_page
