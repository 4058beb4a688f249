"""Fixtures of the tests in a browser: a served page, and Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from core.serving.local import LocalPredictor
from core.store.store import Store
from tests.demo.running import served
from tests.support.chromium import FLAGS
from tests.support.visit import (
    PATIENCE_MS,
    new_page,
    serving,
    visit,
)


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `tensight web`, and return its address."""
    folder = tmp_path_factory.mktemp("web")
    settings = {
        "TENSIGHT_MODEL": "classic",
        "TENSIGHT_HOME": str(folder / "home"),
        "TENSIGHT_OPERATORS": "1",
    }
    with serving(folder, **settings) as (address, _):
        yield address


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Start Playwright.

    It runs an event loop in this thread meanwhile, so no test here can call asyncio.run.
    """
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        yield playwright


@pytest.fixture(scope="package")
def browser(playwright: Playwright, chromium: str) -> Iterator[Browser]:
    """Start Debian's Chromium without a window."""
    with closing(playwright.chromium.launch(executable_path=chromium, args=FLAGS)) as browser:
        yield browser


@pytest.fixture(scope="package")
def profile(
    playwright: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """Start Chromium with a cache on disk, which halves the CPU time of every visit but the first.

    Only `blank` uses it, which erases what a page has stored.
    """
    with closing(
        playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, args=FLAGS, locale="en-US"
        )
    ) as context:
        yield context


@pytest.fixture
def blank(url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """Open an empty tab; a request to anything but the page fails the test."""
    language = getattr(request, "param", "en-US")
    with ExitStack() as stack:
        if language == "en-US":
            context: BrowserContext = request.getfixturevalue("profile")
            stack.callback(_erase, context, url)
        else:
            browser: Browser = request.getfixturevalue("browser")
            context = stack.enter_context(closing(browser.new_context(locale=language)))
        context.grant_permissions(["camera", "clipboard-read", "clipboard-write"])
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        yield page
    assert [a for a in asked if not a.startswith((url, "data:", "blob:"))] == []


def _erase(context: BrowserContext, url: str) -> None:
    """Close the tabs of a test, and erase what its pages have stored in the browser."""
    first, *others = context.pages  # Without any tab, the browser would end.
    for page in others:
        page.close()
    context.clear_cookies()
    context.clear_permissions()
    kinds = "local_storage,indexeddb,service_workers,cache_storage,file_systems"
    session = context.new_cdp_session(first)
    session.send("Storage.clearDataForOrigin", {"origin": url, "storageTypes": kinds})
    session.detach()


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
