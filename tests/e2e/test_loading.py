"""Cost of loading the page: requests and layout shifts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.visit import (
    SIZES,
    new_page,
    upload_photo,
    visit,
)

# Cumulative layout shift while the page loads; 0.1 is good, 0.25 is poor (web.dev/cls).
_MAX_SHIFT = 0.05
_FROM_THE_TOP = "part => Math.round(part.getBoundingClientRect().top + scrollY)"
_PRELOAD = r'<link rel="(?:modulepreload|preload" as="style)" crossorigin href="\./([^"]+)">'
_COUNT_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) window.shifts.push(entry.value);
    }).observe({type: "layout-shift", buffered: true});
"""


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_page_does_not_shift_while_it_loads(
    url: str, browser: Browser, photo: Path, size: tuple[int, int]
) -> None:
    page = new_page(browser, viewport={"width": size[0], "height": size[1]})
    page.add_init_script(_COUNT_SHIFTS)
    visit(page, url)
    expect(page.locator("#model input")).to_have_value(re.compile(r" ms\b"))
    page.wait_for_timeout(1000)  # for what comes last
    assert page.evaluate("shifts.reduce((sum, each) => sum + each, 0)") < _MAX_SHIFT
    expect(page.get_by_text("Upload a photo to see a prediction.")).to_be_visible()
    actions = page.locator("#actions")
    before = actions.evaluate(_FROM_THE_TOP)
    upload_photo(page, photo)
    expect(page.locator("#action-why")).to_be_enabled()
    assert actions.evaluate(_FROM_THE_TOP) == before
    page.close()


def test_first_visit_needs_few_requests(url: str, browser: Browser) -> None:
    page = new_page(browser)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, url)
    # The page's load event fills the selector, last of all.
    expect(page.locator("#model input")).to_have_value(re.compile(r" ms\b"))
    page.wait_for_timeout(1000)  # for requests that follow
    page.close()
    assert len(asked) <= 66
    assert len(asked) == len(set(asked))


def test_preloaded_files_are_those_of_the_first_view(url: str, browser: Browser) -> None:
    page = new_page(browser)
    preloaded: set[str] = set()

    def without_preloads(route: Route) -> None:
        """Answer with the document, as it would be without preloading."""
        answer = route.fetch()
        preloaded.update(re.findall(_PRELOAD, answer.text()))
        route.fulfill(response=answer, body=re.sub(_PRELOAD, "", answer.text()))

    page.route(f"{url}/", without_preloads)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, url)
    expect(page.locator("#model input")).to_have_value(re.compile(r" ms\b"))
    page.close()
    needed = {each.removeprefix(f"{url}/") for each in asked if "/assets/" in each}
    assert preloaded
    assert preloaded <= needed
    # The document names Gradio's first script and style sheet itself; what hidden components need
    # comes last.
    assert len(needed - preloaded) < len(preloaded) / 5
