"""The page as an app on a phone, by Chromium's own criteria."""

from __future__ import annotations

from playwright.sync_api import Page


def errors_of(page: Page) -> list[str]:
    """Return why Chromium would not offer to install a page."""
    session = page.context.new_cdp_session(page)
    answer = session.send("Page.getInstallabilityErrors")
    return [each["errorId"] for each in answer["installabilityErrors"]]


def test_page_can_be_installed(blank: Page, url: str) -> None:
    # Nothing can be installed from an incognito window; this tab has a profile.
    blank.goto(url)
    assert errors_of(blank) == []
    # Chromium does check: this route has no manifest.
    blank.goto(f"{url}/healthz")
    assert errors_of(blank) == ["no-manifest"]
