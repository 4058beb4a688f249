"""The tab Predict in Chromium: prediction, explanation, examples, sharing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.predictor import PreviewedPrediction
from demo.context import ClientRateLimiter
from tests.support.visit import (
    SIZES,
    choose_model,
    keep_screenshot,
    upload_photo,
    visit,
)

# Colours of bars and texts in the picture that is shared.
_BAR, _INK = (199, 210, 254), (31, 41, 55)
_PHONE = """() => {
    const plain = matchMedia;
    window.matchMedia = query => query === "(pointer: coarse)" ? {matches: true} : plain(query);
    navigator.canShare = () => true;
    navigator.share = async shared => { window.shared = shared; };
}"""


def expect_other_scores_of_another_model(page: Page) -> None:
    scores = page.locator("#scores")
    expect(scores).to_contain_text("%")
    first = scores.inner_text()
    choose_model(page, "EfficientNet-Lite2")
    expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")
    expect(scores).not_to_have_text(first, use_inner_text=True)


def test_prediction_changes_with_the_model(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    expect(page.locator("#verdict h2")).not_to_be_empty()
    keep_screenshot(page, "predict")
    expect_other_scores_of_another_model(page)


def test_old_prediction_is_dimmed_until_the_new_one_is_there(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    expect(page.locator("#verdict h2")).not_to_be_empty()
    first = page.locator("#verdict h2").inner_text()
    held: list[Route] = []
    release = threading.Event()

    def hold(route: Route) -> None:
        if release.is_set():
            route.continue_()
        else:
            held.append(route)

    page.route("**/queue/join*", hold)
    choose_model(page, "EfficientNet-Lite2")
    row = page.locator("#predict-row")
    expect(row).to_have_attribute("data-pending", "")
    expect(page.locator("#verdict")).to_have_css("opacity", "0.45")
    expect(page.locator("#verdict h2")).to_have_text(first)
    release.set()
    for each in held:
        each.continue_()
    expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")
    expect(row).not_to_have_attribute("data-pending", "")


def test_number_of_classes_is_chosen_in_the_options(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#scores li:visible")).to_have_count(3)
    page.locator("#options").get_by_role("button").first.click()
    page.locator("#top").fill("5")
    expect(page.locator("#scores li:visible")).to_have_count(5)
    expect(page.locator("#details pre")).to_contain_text('"model": "classic"')


def test_explanation_is_drawn_over_the_photo(page: Page, photo: Path) -> None:
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    page.locator("#action-why").click()
    heat = page.locator("#photo .heat")
    expect(heat).to_be_visible()
    expect(heat).to_have_css("opacity", "0.6")
    picture = page.locator("#photo .image-frame img:not(.heat)")
    assert heat.bounding_box() == picture.bounding_box()
    expect(page.locator("#explained .seen")).to_have_js_property("naturalWidth", 32)
    page.locator("#options").get_by_role("button").first.click()
    page.locator("#opacity").fill("0.2")
    expect(heat).to_have_css("opacity", "0.2")
    page.locator("#action-why").click()
    expect(heat).to_have_count(0)
    expect(page.locator("#action-why")).to_have_attribute("aria-pressed", "false")


def test_example_is_classified(page: Page) -> None:
    expect(page.locator("#examples button")).to_have_count(10)
    page.locator("#examples button").first.click()
    expect(page.locator("#verdict h2")).not_to_be_empty()


@pytest.mark.parametrize("size", [SIZES["phone"], SIZES["desktop"]], ids=["phone", "desktop"])
def test_answer_to_a_picked_example_is_in_view(
    page: Page, photo: Path, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    upload_photo(page, photo)
    expect(page.locator("#action-why")).to_be_enabled()
    page.locator("#examples button[data-name=cat]").click()  # scrolls to it first
    expect(page.locator("#verdict h2")).to_contain_text("A cat")
    expect(page.locator("#verdict")).to_be_in_viewport(ratio=1)
    expect(page.locator("#photo .image-frame img")).to_be_in_viewport(ratio=1)


def test_share_makes_a_picture_and_copies_a_link(page: Page, photo: Path, url: str) -> None:
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    with page.expect_download() as told:
        page.locator("#action-share").click()
    with Image.open(told.value.path()) as picture:
        assert picture.format == "PNG"
        assert picture.width == 800
        # The photo stands above the verdict and the bars.
        drawn = picture.convert("RGB")
        shown, below = drawn.crop((0, 0, 800, 480)), drawn.crop((0, 480, 800, drawn.height))
        assert len(shown.getcolors(800 * 480) or []) > 1000
        counts = {colour: n for n, colour in below.getcolors(800 * drawn.height) or []}
        assert counts[_BAR] > 720 * 48 / 3
        assert counts[_INK] > 0
    expect(page.locator("#notice")).to_have_text("Link copied and picture downloaded.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{url}/?model=classic"
    # The share sheet of a phone takes the place of the download; the server gets nothing.
    page.evaluate(_PHONE)
    page.locator("#action-share").click()
    page.wait_for_function("window.shared")
    assert page.evaluate("[window.shared.url, window.shared.files[0].type]") == [link, "image/png"]
    assert [address for address in sent if address.startswith(url)] == []


def test_query_selects_the_model(blank: Page, url: str, photo: Path) -> None:
    visit(blank, f"{url}/?model=baseline")
    selector = blank.locator("#model input")
    expect(selector).to_have_value(re.compile("^Baseline CNN · "))
    upload_photo(blank, photo)
    expect(blank.locator("#timing")).to_contain_text("Baseline CNN · ")
    visit(blank, f"{url}/?model=nonsense")
    expect(blank.get_by_text("The model in this link is not available.")).to_be_visible()
    expect(selector).to_have_value(re.compile("^Classic CNN · "))
    selector.click()
    expect(blank.get_by_role("option", name=re.compile("^Airbench CNN"))).to_be_visible()
    expect(blank.get_by_role("option", name=re.compile("^Baseline CNN"))).to_have_count(0)


def test_unusable_file_replaces_the_prediction_with_an_error(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    upload_photo(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    text = tmp_path / "photo.jpg"
    text.write_text("no photo at all")
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict h2")).to_have_count(0)
    upload_photo(page, text)
    expect(page.locator("#verdict")).to_contain_text("This file is not a photo.")
    expect(page.locator("#action-why")).to_be_disabled()


class Timed(LocalPredictor):
    """A predictor that reports a thousand times the inference time for explanations."""

    async def predict(self, photo: Photo, **options: Any) -> Prediction:
        given = await super().predict(photo, **options)
        return replace(given, timing_ms=replace(given.timing_ms, infer=5.0))

    async def predict_with_preview(self, photo: Photo, **options: Any) -> PreviewedPrediction:
        given = await super().predict_with_preview(photo, **options)
        timing = replace(given.prediction.timing_ms, infer=5000.0)
        return replace(given, prediction=replace(given.prediction, timing_ms=timing))


def test_time_excludes_the_explanation(
    catalog: Catalog, photo: Path, visiting: Callable[..., Page]
) -> None:
    page = visiting(Timed(catalog, queue_size=8, deadline_s=30))
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text(", 5.0 ms to predict")
    page.locator("#action-why").click()
    expect(page.locator("#explained")).to_contain_text("Computed in 5,000.0 ms.")
    expect(page.locator("#timing")).to_contain_text(", 5.0 ms to predict")


def test_explanation_counts_as_a_photo(
    catalog: Catalog, photo: Path, visiting: Callable[..., Page]
) -> None:
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    page = visiting(predictor, photo_limiter=ClientRateLimiter(1, window_s=3600))
    upload_photo(page, photo)
    expect(page.locator("#timing")).to_contain_text(" ms to predict")
    page.locator("#action-why").click()
    expect(page.locator("#explained")).to_contain_text("You have sent too many photos")


def test_real_cat_is_recognised(page: Page, photos_folder: Path) -> None:
    upload_photo(page, photos_folder / "cat_0.jpg")
    expect(page.locator("#verdict h2")).to_contain_text("cat")
    expect_other_scores_of_another_model(page)
