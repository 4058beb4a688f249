"""Live predictions of Chromium's fake camera."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from core import locale
from tests.support.visit import (
    ONE_LANGUAGE,
    SIZES,
    choose_model,
    keep_screenshot,
    language_of,
    open_tab,
    settle,
    upload_photo,
)

_ANSWERS = "n => Number(document.querySelector('#live-answer [data-answers]')?.dataset.answers) > n"
_KEEP_TRACK = """() => {
    window.track = document.querySelector('#live-camera video').srcObject.getTracks()[0];
}"""
_CAMERA_IS_OFF = "() => window.track.readyState === 'ended'"
# Chromium without a window never hides a page.
_HIDE = """() => {
    Object.defineProperty(document, "hidden", {value: true, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def start_live(page: Page, answers: int = 3) -> None:
    """Start live predictions, and wait for some."""
    page.locator("#live").click()
    page.wait_for_function(_ANSWERS, arg=answers)
    page.evaluate(_KEEP_TRACK)


def test_live_bars_of_all_classes_fit_the_first_screen(page: Page) -> None:
    width, height = SIZES["phone"]
    page.set_viewport_size({"width": width, "height": height})
    start_live(page)
    expect(page.locator("#live-answer h2")).to_be_visible()
    expect(page.locator("#live-answer .rate")).to_contain_text("predictions per second")
    bars = page.locator("#live-answer li:visible")
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        settle(page)
        expect(bars).to_have_count(10)
        box = bars.last.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        keep_screenshot(page, f"live-{width}")


def test_live_predictions_stop_at_the_button(page: Page) -> None:
    start_live(page)
    page.locator("#live").click()
    page.wait_for_function(_CAMERA_IS_OFF)
    expect(page.locator("#live-camera video")).to_have_count(0)
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#verdict")).to_be_visible()


@ONE_LANGUAGE
def test_live_predictions_stop_when_the_page_is_hidden(page: Page) -> None:
    start_live(page)
    page.evaluate(_HIDE)
    page.wait_for_function(_CAMERA_IS_OFF)
    told = locale.page_texts(language_of(page))["live_hidden"]
    expect(page.locator("#notice")).to_have_text(told)


def test_live_predictions_stop_when_another_tab_is_opened(page: Page) -> None:
    start_live(page)
    open_tab(page, "Compare")
    page.wait_for_function(_CAMERA_IS_OFF)


def test_live_predictions_stop_when_an_example_is_picked(page: Page) -> None:
    start_live(page)
    page.locator("#examples button").first.click()
    page.wait_for_function(_CAMERA_IS_OFF)
    expect(page.locator("#verdict h2")).not_to_be_empty()


def test_live_predictions_use_the_selected_model(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    start_live(page)
    with page.expect_request(lambda request: "/live?model=efficientnet" in request.url):
        choose_model(page, "EfficientNet-Lite2")
    page.locator("#live").click()
    expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")


def test_denied_camera_is_reported(blank: Page, url: str) -> None:
    blank.add_init_script(
        "navigator.mediaDevices.getUserMedia = "
        "() => Promise.reject(new DOMException('', 'NotAllowedError'));"
    )
    blank.goto(url)
    blank.locator("#live").click()
    expect(blank.locator("#notice")).to_have_text(locale.page_texts()["live_denied"])
    expect(blank.locator("#live")).to_have_attribute("aria-pressed", "false")


def test_lost_server_is_reported(page: Page) -> None:
    start_live(page)
    page.route("**/live?*", lambda route: route.abort())
    expect(page.locator("#notice")).to_have_text(locale.page_texts()["live_lost"])
    page.wait_for_function(_CAMERA_IS_OFF)
