"""The page as an app on a phone, by Chromium's own criteria."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.visit import PATIENCE_MS
from tests.support.chromium import FLAGS


@pytest.fixture
def profile(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """Open a tab of a browser with a profile; nothing can be installed from an incognito window."""
    context = browser.browser_type.launch_persistent_context(
        tmp_path / "profile", executable_path=shutil.which("chromium"), args=FLAGS
    )
    context.set_default_timeout(PATIENCE_MS)
    context.set_default_navigation_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


def errors_of(page: Page) -> list[str]:
    """Return why Chromium would not offer to install a page."""
    session = page.context.new_cdp_session(page)
    answer = session.send("Page.getInstallabilityErrors")
    return [each["errorId"] for each in answer["installabilityErrors"]]


def test_page_can_be_installed(profile: Page, url: str) -> None:
    profile.goto(url)
    assert errors_of(profile) == []
    # Chromium does check: this route has no manifest.
    profile.goto(f"{url}/healthz")
    assert errors_of(profile) == ["no-manifest"]
