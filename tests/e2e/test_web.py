"""`tensight web` as a process, visited by Chromium and by Gradio's client."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core import locale
from core.bundle.folder import find_bundles
from core.errors import ImageError, PredictorError
from core.inference.prediction import Prediction
from core.photos.decode import MAX_BYTES, Photo
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.predictor import PreviewedPrediction
from core.settings import Settings
from core.store.store import Store
from demo.context import ClientRateLimiter
from tests.conftest import ROOT
from tests.demo.running import served
from tests.support.catalogs import SlowCatalog
from tests.support.servers import free_port, wait_for, wait_until_it_answers

# Generous: the machine may be busy with other things.
_PATIENCE_MS = 240_000
# A root user's Chromium needs --no-sandbox; the rest keeps it from calling home.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]

_SCREENSHOTS = ROOT / "screenshots"
# What only the tab itself holds.
_TABS = {
    "Predict": "#photo",
    "Compare": "#compared-photo",
    "Batch": "#batch-photos",
    "Models": "#leaderboard",
    "Data": "#data-counts",
    "About": "#programs",
}
_KEYS = ("tab_predict", "tab_compare", "tab_batch", "tab_models", "tab_data", "tab_about")
# How far what is seen moves while it loads; 0.1 is good, 0.25 is poor (web.dev/cls).
_MOST_SHIFTED = 0.05
_FROM_THE_TOP = "part => Math.round(part.getBoundingClientRect().top + scrollY)"
_COUNT_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) window.shifts.push(entry.value);
    }).observe({type: "layout-shift", buffered: true});
"""
# Two frames, so that what the last change starts is waited for too; what never ends is not.
_SETTLE = """async () => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    const moving = document.getAnimations().filter(
        each => each.effect.getComputedTiming().endTime < Infinity);
    await Promise.all(moving.map(each => each.finished.catch(() => {})));
}"""
# Serious for axe, and Gradio's own, by rule and selector.
_GRADIOS = {("nested-interactive", 'button[aria-label="common.upload"]')}


def serious(page: Page) -> set[tuple[str, str]]:
    """Rule and selector of each serious violation that axe finds."""
    found = Axe().run(page).response["violations"]
    return {
        (each["id"], " ".join(map(str, node["target"])))
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    }


@contextmanager
def serving(
    folder: Path, front: str = "web", *options: str, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running `tensight web`, or another front: its address, and the process."""
    port = free_port()
    log = folder / "web.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSIGHT_")}
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "core.cli", front, "--port", str(port), *options],
            cwd=folder,
            env=environment | {"PYTHONPATH": str(ROOT)} | settings,
            stdout=stream,
            stderr=subprocess.STDOUT,
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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TENSIGHT_HOME of the page that most tests visit."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[str]:
    """Address of a running `tensight web`."""
    settings = {"TENSIGHT_MODEL": "classic", "TENSIGHT_HOME": str(home)}
    with serving(tmp_path_factory.mktemp("web"), **settings) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        expect.set_options(timeout=_PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def blank(url: str, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty tab of a browser; a request for anything outside this machine fails the test."""
    context = browser.new_context(
        locale=getattr(request, "param", "en-US"),
        permissions=["camera", "clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    yield page
    context.close()
    assert [a for a in asked if not a.startswith((url, "data:", "blob:"))] == []


@pytest.fixture
def page(blank: Page, url: str) -> Page:
    """The page in a browser."""
    visit(blank, url)
    return blank


def new_page(browser: Browser, **options: Any) -> Page:
    """Open a page in a browser context of its own."""
    page = browser.new_page(**options)
    page.set_default_timeout(_PATIENCE_MS)
    return page


def visit(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#photo input[type=file]", state="attached")


def give(page: Page, photo: Path, where: str = "#photo") -> None:
    page.set_input_files(f"{where} input[type=file]", photo)


def open_tab(page: Page, name: str) -> None:
    """Where the page is too narrow for all tabs, out of the menu beside them."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() == 0:
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True)
    tab.click()


def choose_model(page: Page, title: str) -> None:
    """Choose a model in the selector of the tab Predict."""
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile(f"^{re.escape(title)} ·")).click()


def language_of(page: Page) -> locale.Language:
    """Language of the page in this browser."""
    return locale.language_of_tag(page.evaluate("navigator.language")) or "en"


def settle(page: Page) -> None:
    """Return once what moves or fades has come to its end."""
    page.evaluate(_SETTLE)


def keep_screenshot(page: Page, name: str) -> None:
    """What a person is to look at; the folder is not part of the repository."""
    _SCREENSHOTS.mkdir(exist_ok=True)
    settle(page)  # bars grow to their length
    page.screenshot(path=_SCREENSHOTS / f"{name}.png", full_page=True)


def test_a_photo_gets_an_answer_that_changes_with_the_model(page: Page, photo: Path) -> None:
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    expect(page.locator("#verdict h2")).not_to_be_empty()
    keep_screenshot(page, "predict")
    first = page.locator("#scores").inner_text()
    assert "%" in first
    choose_model(page, "EfficientNet-Lite2")
    expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")
    assert page.locator("#scores").inner_text() != first


SIZES = {"phone": (360, 740), "tablet": (768, 1024), "desktop": (1280, 900)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_first_screen_holds_photo_verdict_and_three_bars(
    page: Page, photo: Path, size: tuple[int, int]
) -> None:
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    settle(page)
    assert page.evaluate("scrollY") == 0
    bars = page.locator("#scores li:visible")
    expect(bars).to_have_count(3)
    for part in (page.locator("#photo .image-frame img"), page.locator("#verdict"), bars.last):
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height
        assert box["x"] + box["width"] <= width
    keep_screenshot(page, f"answer-{width}")


def test_number_of_classes_is_chosen_in_the_options(page: Page, photo: Path) -> None:
    give(page, photo)
    expect(page.locator("#scores li:visible")).to_have_count(3)
    page.locator("#options").get_by_role("button").first.click()
    page.locator("#top").fill("5")
    expect(page.locator("#scores li:visible")).to_have_count(5)
    expect(page.locator("#details pre")).to_contain_text('"model": "classic"')


def test_explanation_lies_over_the_photo(page: Page, photo: Path) -> None:
    give(page, photo)
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


def test_example_is_answered(page: Page) -> None:
    expect(page.locator("#examples button")).to_have_count(10)
    page.locator("#examples button").first.click()
    expect(page.locator("#verdict h2")).not_to_be_empty()


def test_share_makes_a_picture_and_copies_a_link(page: Page, photo: Path, url: str) -> None:
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    with page.expect_download() as told:
        page.locator("#action-share").click()
    with Image.open(told.value.path()) as picture:
        assert picture.format == "PNG"
        assert picture.width == 800
    expect(page.locator("#notice")).to_have_text("Link copied and picture downloaded.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{url}/?model=classic"


def test_compare_hands_on_the_photo(page: Page, photo: Path) -> None:
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    page.locator("#action-compare").click()
    models = len(find_bundles(ROOT / "models"))
    expect(page.locator("#compared .card")).to_have_count(models)
    expect(page.locator("#compared-photo img").first).to_be_visible()


def test_address_chooses_the_model(blank: Page, url: str, photo: Path) -> None:
    visit(blank, f"{url}/?model=baseline")
    selector = blank.locator("#model input")
    expect(selector).to_have_value(re.compile("^Baseline CNN · "))
    give(blank, photo)
    expect(blank.locator("#timing")).to_contain_text("Baseline CNN · ")
    visit(blank, f"{url}/?model=nonsense")
    expect(blank.get_by_text("The model in this link is not available.")).to_be_visible()
    expect(selector).to_have_value(re.compile("^Classic CNN · "))
    selector.click()
    expect(blank.get_by_role("option", name=re.compile("^Airbench CNN"))).to_be_visible()
    expect(blank.get_by_role("option", name=re.compile("^Baseline CNN"))).to_have_count(0)


def test_a_file_that_is_no_photo_replaces_the_answer(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    text = tmp_path / "photo.jpg"
    text.write_text("no photo at all")
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict h2")).to_have_count(0)
    give(page, text)
    expect(page.locator("#verdict")).to_contain_text("This file is not a photo.")
    expect(page.locator("#action-why")).to_be_disabled()


def test_the_webcam(page: Page) -> None:
    page.locator("#photo").get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")


def test_a_dropped_photo(page: Page, photo: Path) -> None:
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


def test_a_pasted_photo(page: Page, photo: Path, tmp_path: Path) -> None:
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


def feedback_rows(home: Path) -> list[dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, "-m", "core.cli", "feedback", "stats", "--json"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TENSIGHT_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(json.loads(run.stdout))


def test_visitors_say_whether_an_answer_is_right(
    page: Page, photo: Path, home: Path, tmp_path: Path
) -> None:
    give(page, photo)
    # Who clicks twice says it once.
    page.locator("#action-right").dblclick()
    expect(page.locator("#thanks")).to_contain_text("counts towards the accuracy of Classic CNN")
    expect(page.locator("#action-right")).to_be_disabled()
    choose_model(page, "Airbench CNN")
    expect(page.locator("#timing")).to_contain_text("Airbench CNN · ")
    page.locator("#action-wrong").click()
    page.get_by_label("Donate my photo").check()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("What is in the photo?")
    page.locator("#truth input").click()
    page.get_by_role("option", name="truck").click()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("The photo was saved too")
    rows = feedback_rows(home)
    assert [(row["model"], row["n"], row["right"]) for row in rows] == [
        ("classic", 1, 1),
        ("scratch", 1, 0),
    ]
    subprocess.run(
        [sys.executable, "-m", "core.cli", "feedback", "export", str(tmp_path / "wild")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TENSIGHT_HOME": str(home)},
        timeout=60,
        check=True,
    )
    (kept,) = (tmp_path / "wild").glob("*.jpg")
    assert "truck" in (tmp_path / "wild" / "labels.csv").read_text()
    with Image.open(kept) as image:
        assert image.size == (640, 480)


def test_a_space_without_a_database_asks_for_no_feedback(
    photo: Path, tmp_path: Path, browser: Browser
) -> None:
    with serving(tmp_path, SPACE_ID="owner/space", TENSIGHT_HOME=str(tmp_path / "home")) as (
        url,
        _,
    ):
        page = new_page(browser)
        visit(page, url)
        give(page, photo)
        expect(page.locator("#action-why")).to_be_enabled()
        expect(page.locator("#action-right")).not_to_be_visible()
        page.close()
    assert not (tmp_path / "home" / "tensight.db").exists()


def test_a_space_with_a_database_asks_for_feedback(
    photo: Path, tmp_path: Path, browser: Browser
) -> None:
    settings = {
        "SPACE_ID": "owner/space",
        "TENSIGHT_HOME": str(tmp_path / "home"),
        "TENSIGHT_DATABASE_URL": f"sqlite:///{tmp_path / 'words.db'}",
    }
    with serving(tmp_path, **settings) as (url, _):
        page = new_page(browser)
        visit(page, url)
        give(page, photo)
        expect(page.locator("#action-right")).to_be_enabled()
        page.close()


@pytest.fixture
def visiting(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Serves a page in this process, and opens it."""
    with ExitStack() as stack:

        def open_page(predictor: LocalPredictor, store: Store | None = None, **how: Any) -> Page:
            stack.callback(predictor.close)
            url = stack.enter_context(served(predictor, store=store, **how))
            page = stack.enter_context(closing(new_page(browser)))
            visit(page, url)
            return page

        yield open_page


class Timed(LocalPredictor):
    """A predictor that needs a thousand times as long to tell what spoke for an answer."""

    async def predict(self, photo: Photo, **how: Any) -> Prediction:
        given = await super().predict(photo, **how)
        return replace(given, timing_ms=replace(given.timing_ms, infer=5.0))

    async def predict_with_preview(self, photo: Photo, **how: Any) -> PreviewedPrediction:
        given = await super().predict_with_preview(photo, **how)
        timing = replace(given.prediction.timing_ms, infer=5000.0)
        return replace(given, prediction=replace(given.prediction, timing_ms=timing))


def test_the_time_is_that_of_the_answer_alone(
    catalog: Catalog, photo: Path, visiting: Callable[..., Page]
) -> None:
    page = visiting(Timed(catalog, queue_size=8, deadline_s=30))
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text(", 5.0 ms to predict")
    page.locator("#action-why").click()
    expect(page.locator("#explained")).to_contain_text("Computed in 5,000.0 ms.")
    expect(page.locator("#timing")).to_contain_text(", 5.0 ms to predict")


def test_explanations_count_as_photos_do(
    catalog: Catalog, photo: Path, visiting: Callable[..., Page]
) -> None:
    predictor = LocalPredictor(catalog, queue_size=8, deadline_s=30)
    page = visiting(predictor, visitors=ClientRateLimiter(1, window_s=3600))
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text(" ms to predict")
    page.locator("#action-why").click()
    expect(page.locator("#explained")).to_contain_text("You have sent too many photos")


class Unsure(LocalPredictor):
    """A predictor that is never sure."""

    async def predict(self, photo: Photo, **how: Any) -> Prediction:
        return replace(await super().predict(photo, **how), verdict="unsure")


def test_an_unsure_answer_asks_what_it_is(
    catalog: Catalog, photo: Path, tmp_path: Path, visiting: Callable[..., Page]
) -> None:
    store = Store.open(Settings(home=tmp_path))
    page = visiting(Unsure(catalog, queue_size=8, deadline_s=30), store)
    give(page, photo)
    expect(page.get_by_text("Do you know what it is?")).to_be_visible()
    expect(page.locator("#action-wrong")).to_be_disabled()
    page.get_by_label("Donate my photo").check()
    page.locator("#truth input").click()
    page.get_by_role("option", name="ship").click()
    # What is kept is said, not what was asked for.
    for upload in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("ship.jpg"):
        upload.unlink()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#thanks")).to_contain_text("the photo could not be saved")
    (wild,) = store.feedback.stats()
    store.close()
    assert wild.n == 1


def test_what_is_told_follows_the_models(made_models: Path, visiting: Callable[..., Page]) -> None:
    made = Catalog(Settings(models=made_models))
    page = visiting(LocalPredictor(made, queue_size=1, deadline_s=30), share=True)
    open_tab(page, "Data")
    known = page.get_by_text("The models here know: red square, green bar, blue sky.")
    expect(known).to_be_visible()
    open_tab(page, "About")
    expect(page.locator("#about")).to_contain_text("at 32 pixels a side")
    expect(page.locator("#about")).to_contain_text("passes through Gradio's servers")
    expect(page.locator("#about")).not_to_contain_text("sends nothing to other")


def test_a_batch_tells_how_far_it_is_and_leaves_nothing(
    photo: Path, text: Path, visiting: Callable[..., Page]
) -> None:
    slow = SlowCatalog()
    page = visiting(LocalPredictor(slow, queue_size=8, deadline_s=30))
    open_tab(page, "Batch")
    page.set_input_files("#batch-photos input[type=file]", [photo, text])
    expect(page.locator("#batch-photos tr.file")).to_have_count(2)
    try:
        page.locator("#batch-start").click()
        expect(page.get_by_text("/2 photos").first).to_be_visible()
    finally:
        slow.go.set()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2 photos classified.")
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    assert [path for path in uploads.rglob("*") if path.is_file() and not path.stat().st_size] == []


@pytest.mark.parametrize("blank", ["en-US", "nl-NL"], indirect=True)
def test_a_file_that_is_too_large_is_told_in_our_words(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(MAX_BYTES + 1))
    give(page, large)
    told = locale.format_error(ImageError("too_large", ""), language_of(page))
    expect(page.get_by_test_id("toast-text")).to_have_text(told)


def test_the_models_are_compared(page: Page, photo: Path) -> None:
    open_tab(page, "Compare")
    give(page, photo, "#compared-photo")
    models = len(find_bundles(ROOT / "models"))
    expect(page.locator("#compared .card")).to_have_count(models)
    expect(page.locator("#agreement")).to_contain_text("models say")
    keep_screenshot(page, "compare")


def test_many_photos_at_once(page: Page, photo: Path, tmp_path: Path, catalog: Catalog) -> None:
    text = tmp_path / "bad.jpg"
    text.write_text("no photo at all")
    open_tab(page, "Batch")
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("Choose some photos first.")
    page.set_input_files("#batch-photos input[type=file]", [photo, text])
    expect(page.locator("#batch-photos tr.file")).to_have_count(2)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2 photos classified.")
    expect(page.locator("#batch-results .gallery li[data-kind=failed]")).to_contain_text(
        "This file is not a photo."
    )
    expect(page.locator("#batch-results .gallery img")).to_have_count(1)
    keep_screenshot(page, "batch")
    expected = catalog.load("classic").predict(photo)
    expect(page.locator("#batch-counts li")).to_have_text([f"{expected.label}1"])
    page.locator("#batch-results [data-show=failed]").click()
    expect(page.locator("#batch-results .gallery li:visible")).to_have_count(1)
    with page.expect_download() as told:
        page.locator("#batch-json").click()
    good, bad = json.loads(told.value.path().read_text())
    assert (good["photo"], good["scores"]) == ("ship.jpg", expected.scores)
    assert (bad["photo"], bad["error"]["code"]) == ("bad.jpg", "not_an_image")
    with page.expect_download() as told:
        page.locator("#batch-csv").click()
    first, second = csv.DictReader(told.value.path().read_text().splitlines())
    assert float(first["confidence"]) == expected.confidence
    assert second["error"] == "not_an_image"


def test_folder_of_100_with_two_bad_files_is_classified(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(98):
        (folder / f"{i:02}.jpg").write_bytes(photo.read_bytes())
    for name in ("bad-1.jpg", "bad-2.jpg"):
        (folder / name).write_text("no photo at all")
    open_tab(page, "Batch")
    expect(page.locator("#batch-folder")).to_be_attached()
    page.set_input_files("#batch-folder", folder)
    expect(page.locator("#batch-photos tr.file")).to_have_count(100)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("98 of 100")
    expect(page.locator("#batch-results li[data-kind=failed]")).to_have_count(2)


def test_zip_file_is_classified(page: Page, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(photo, "in/ship.jpg")
        archive.writestr("in/bad.jpg", "no photo at all")
    open_tab(page, "Batch")
    page.set_input_files("#batch-photos input[type=file]", path)
    expect(page.locator("#batch-photos tr.file")).to_have_count(1)
    page.locator("#batch-start").click()
    expect(page.locator("#batch-said")).to_contain_text("1 of 2")


def test_models_tab_shows_the_figures_of_every_model(page: Page, catalog: Catalog) -> None:
    open_tab(page, "Models")
    for entry in catalog.models():
        title = re.compile(f"^{re.escape(entry.config.title)}$")
        row = page.locator("#leaderboard tr", has=page.get_by_role("rowheader", name=title))
        test, reported = entry.metrics.test.accuracy, entry.metrics.reported
        expect(row.locator("td").nth(2)).to_have_text(f"{test:.1%}")
        expect(row.locator("td").nth(3)).to_have_text(
            f"{reported.accuracy:.1%}" if reported else "–"
        )
    expect(page.locator("#confusion tbody tr")).to_have_count(10)
    expect(page.locator("#curves")).to_contain_text("Trained for ")
    expect(page.locator("#reliability")).to_contain_text("On 10,000 test images, ")
    for part in ("#curves", "#reliability", "#models-chart"):
        expect(page.locator(f"{part} svg.chart")).to_be_visible()
    told = [
        f"{each.label}{each.precision:.3f}{each.recall:.3f}{each.f1:.3f}{each.support:,}"
        for each in catalog.bundle("classic").metrics().test.classes
    ]
    expect(page.locator("#classes tbody tr")).to_have_text(told)
    keep_screenshot(page, "models")
    page.locator("#picked input").click()
    page.get_by_role("option", name="Baseline CNN").click()
    first = catalog.bundle("baseline").metrics().test.confusion[0][0]
    expect(page.locator("#confusion tbody td").first).to_have_text(str(first))
    page.locator("#card").get_by_role("button").first.click()
    expect(page.locator("#card")).to_contain_text("Two convolutions and two dense layers")


def test_the_data_is_told_of(page: Page) -> None:
    open_tab(page, "Data")
    expect(page.get_by_text("50,000 for training")).to_be_visible()
    expect(page.locator("#data-counts li")).to_have_count(10)
    expect(page.locator("#data-hard li")).to_have_count(10)
    expect(page.locator("#data-missing")).to_contain_text("TENSIGHT_DATA")
    open_tab(page, "About")
    expect(page.get_by_text("Photos are processed on this server")).to_be_visible()
    expect(page.locator("#about-answer")).to_contain_text("Stefan van der Walt (CC0)")
    keep_screenshot(page, "about")


def test_the_data_is_shown_where_it_is(data_folder: Path, browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, TENSIGHT_DATA=str(data_folder)) as (url, _):
        page = new_page(browser)
        visit(page, url)
        open_tab(page, "Data")
        page.locator("#data-show").click()
        expect(page.locator("#data-images img")).to_have_count(120)
        keep_screenshot(page, "data")
        page.close()


@pytest.mark.parametrize("blank", ["nl-NL", "de-DE"], indirect=True)
def test_page_speaks_the_language_of_the_browser(page: Page, photo: Path) -> None:
    language = language_of(page)
    words = locale.page_texts(language)
    expect(page.locator("#intro")).to_have_text(words["intro"])
    expect(page.locator("#examples")).to_contain_text(words["example_cat_turned"])
    expect(page.locator("#model input")).to_have_value(re.compile(r"\d\d% · \d,\d ms"))
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text(re.compile(r" · \d+,\d ms "))
    expect(page.locator("#action-why")).to_have_text(words["action_why"])
    open_tab(page, words["tab_models"])
    expect(page.locator("#leaderboard")).to_contain_text(words["models_report"])
    keep_screenshot(page, language)


def fill(page: Page, name: str, photo: Path, text: Path, shown: str = "") -> None:
    """Open a tab, and do in it what makes it show the most; `shown` is what it is called."""
    open_tab(page, shown or name)
    expect(page.locator(_TABS[name])).to_be_visible()
    if name == "Compare":
        give(page, photo, "#compared-photo")
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


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file that is called like a photo and is none."""
    path = tmp_path / "bad.jpg"
    path.write_text("no photo at all")
    return path


@pytest.mark.parametrize("width", [360, 375])
def test_a_phone_sees_the_whole_page(page: Page, photo: Path, text: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    give(page, photo)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    wide = {}
    for name in _TABS:
        fill(page, name, photo, text)
        keep_screenshot(page, f"phone-{width}-{name.lower()}")
        wide[name] = page.evaluate("document.documentElement.scrollWidth")
    assert wide == dict.fromkeys(_TABS, width)


def test_a_desk_sees_models_side_by_side(page: Page, photo: Path, text: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    wide = set()
    for name in _TABS:
        fill(page, name, photo, text)
        wide.add(page.evaluate("document.querySelector('.gradio-container').clientWidth"))
    assert wide == {1100}
    page.set_viewport_size({"width": 1000, "height": 800})
    assert page.evaluate("document.querySelector('main').clientWidth") > 900
    page.set_viewport_size({"width": 1280, "height": 800})
    open_tab(page, "Compare")
    tops = [box["y"] for card in page.locator(".card").all() if (box := card.bounding_box())]
    assert tops.count(tops[0]) >= 2


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_page_does_not_shift_while_it_loads(
    url: str, browser: Browser, photo: Path, size: tuple[int, int]
) -> None:
    page = new_page(browser, viewport={"width": size[0], "height": size[1]})
    page.add_init_script(_COUNT_SHIFTS)
    visit(page, url)
    expect(page.locator("#model input")).to_have_value(re.compile(r" ms\b"))
    page.wait_for_timeout(1000)  # for what comes last
    assert page.evaluate("shifts.reduce((sum, each) => sum + each, 0)") < _MOST_SHIFTED
    expect(page.get_by_text("Upload a photo to see a prediction.")).to_be_visible()
    actions = page.locator("#actions")
    before = actions.evaluate(_FROM_THE_TOP)
    give(page, photo)
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
    assert len(asked) <= 70


def tab_to(page: Page, what: str) -> None:
    """Press the tab key until an element is reached."""
    reached = "what => document.activeElement.matches(what)"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(reached, what):
            return
    raise AssertionError(f"keys do not reach {what}")


def test_keys_are_enough(page: Page, photo: Path) -> None:
    # Asked for before the key is pressed: a busy browser opens a window of its own otherwise.
    page.on("filechooser", lambda chooser: chooser.set_files(photo))
    tab_to(page, "#photo [data-testid=upload-button], #photo button[aria-label*=upload]")
    page.keyboard.press("Enter")
    expect(page.locator("#timing")).to_contain_text("Classic CNN · ")
    tab_to(page, "#action-why")
    page.keyboard.press("Enter")
    expect(page.locator("#photo .heat")).to_be_visible()
    tab_to(page, "#action-right")
    page.keyboard.press("Enter")
    expect(page.locator("#thanks")).to_contain_text("Thank you.")
    tab_to(page, "#model input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#timing")).not_to_contain_text("Classic CNN · ")
    tab_to(page, "#examples button")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict h2")).to_contain_text("cat")
    tab_to(page, "button[role=tab]:nth-of-type(2)")
    page.keyboard.press("Enter")
    expect(page.locator("#compared-photo")).to_be_visible()


@pytest.mark.parametrize(
    ("blank", "theme", "width"),
    [
        ("en-US", "light", 1280),
        ("en-US", "dark", 1280),
        ("en-US", "dark", 360),
        ("nl-NL", "light", 1280),
        ("de-DE", "light", 360),
    ],
    indirect=["blank"],
    ids=["light", "dark", "phone", "dutch", "german"],
)
def test_nothing_of_ours_keeps_anybody_out(
    blank: Page, url: str, photo: Path, text: Path, theme: str, width: int
) -> None:
    page = blank
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, f"{url}/?__theme={theme}")
    language = language_of(page)
    words = locale.page_texts(language)
    give(page, photo)
    page.locator("#action-why").click()
    expect(page.locator("#explained .seen")).to_be_visible()
    page.locator("#options").get_by_role("button").first.click()
    page.locator("#action-wrong").click()
    expect(page.locator("#truth")).to_be_visible()
    keep_screenshot(page, f"{language}-{theme}-{width}")
    found = set()
    for name, key in zip(_TABS, _KEYS, strict=True):
        fill(page, name, photo, text, words[key])
        if name == "Predict":
            page.locator("#examples button").first.hover()
        settle(page)
        found |= serious(page)
    assert found <= _GRADIOS


def test_fifty_visitors_at_once(url: str, photo: Path, catalog: Catalog) -> None:
    expected = catalog.load("classic").predict(photo).scores

    def visit_once(_: int) -> Any:
        client = gradio_client.Client(url, verbose=False)
        return client.predict(gradio_client.handle_file(photo), "classic", api_name="/predict")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(visit_once, range(50)))
    refused = [answer for answer in answers if "error" in answer]
    assert {answer["error"]["code"] for answer in refused} <= {"busy"}
    assert len(refused) < 50
    assert all(answer["scores"] == expected for answer in answers if answer not in refused)


@pytest.mark.parametrize("name", ["cat_0.jpg", "none_piano.jpg", "ship_0.jpg"])
def test_real_photos(url: str, name: str, photos_folder: Path) -> None:
    client = gradio_client.Client(url, verbose=False)
    photo = gradio_client.handle_file(photos_folder / name)
    answers = [
        client.predict(photo, model, api_name="/predict") for model in ("classic", "baseline")
    ]
    assert answers[0]["scores"] != answers[1]["scores"]
    for answer in answers:
        assert sum(answer["scores"].values()) == pytest.approx(1)


def test_real_photos_in_the_browser(page: Page, photos_folder: Path) -> None:
    give(page, photos_folder / "cat_0.jpg")
    expect(page.locator("#verdict h2")).to_contain_text("cat")
    first = page.locator("#scores").inner_text()
    choose_model(page, "EfficientNet-Lite2")
    expect(page.locator("#timing")).to_contain_text("EfficientNet-Lite2 · ")
    assert page.locator("#scores").inner_text() != first


def test_the_page_asks_the_service_that_the_settings_name(
    photo: Path, tmp_path: Path, catalog: Catalog, browser: Browser
) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "page").mkdir()
    with serving(tmp_path / "service", "serve") as (service, process):
        settings = {"TENSIGHT_PREDICTOR_URL": service, "TENSIGHT_MODELS": str(tmp_path / "none")}
        with serving(tmp_path / "page", **settings) as (url, _):
            client = gradio_client.Client(url, verbose=False)
            sent = gradio_client.handle_file(photo)
            answer = client.predict(sent, "classic", api_name="/predict")
            assert answer["scores"] == catalog.load("classic").predict(photo).scores
            process.terminate()
            process.wait(120)
            # It is waited for while the page is opened.
            job = client.submit(sent, "baseline", api_name="/predict")
            page = new_page(browser)
            visit(page, url)
            open_tab(page, "Models")
            away = locale.format_error(PredictorError("not there"), "en")
            expect(page.locator("#leaderboard")).to_contain_text(away)
            expect(page.locator("#picked-note")).to_contain_text(away)
            page.close()
            error = job.result(timeout=120)["error"]
            assert error["code"] == "predictor"
            assert error["message"] == away


def test_who_shares_reads_what_that_opens(tmp_path: Path) -> None:
    # Nothing listens there, so that no test opens this machine to anybody.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    local = {"no_proxy": "127.0.0.1,localhost"}
    log = tmp_path / "web.log"
    with serving(tmp_path, "web", "--share", **nowhere, **local):
        wait_for(lambda: "TenSight answers on" in log.read_text())
    said = log.read_text()
    assert "everybody who gets the address can send photos to this machine" in said
    assert "servers of Gradio's maker" in said


def test_a_taken_port_is_said(url: str) -> None:
    port = url.rsplit(":", 1)[1]
    run = subprocess.run(
        [sys.executable, "-m", "core.cli", "web", "--port", port],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    expected = f"Cannot bind to 127.0.0.1:{port}: address already in use. Choose"
    assert expected in run.stderr


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6(host: str, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(tmp_path, TENSIGHT_HOST=host) as (url, _):
        assert url.startswith("http://[::1]:")


def test_pages_that_stop_leave_the_uploads_of_others(photo: Path, tmp_path: Path) -> None:
    paths = []
    (tmp_path / "other").mkdir()
    with serving(tmp_path) as (url, _):
        with serving(tmp_path / "other") as (other_url, _):
            for address in (url, other_url):
                with photo.open("rb") as stream:
                    sent = httpx.post(f"{address}/gradio_api/upload", files={"files": stream})
                paths += sent.json()
        call = f"{url}/gradio_api/call/predict"
        asked = httpx.post(call, json={"data": [{"path": paths[0]}, "classic", False]})
        event = asked.json()["event_id"]
        assert '"label"' in httpx.get(f"{call}/{event}", timeout=120).text
    assert paths[0] != paths[1]


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_told_to_stop_it_stops_and_keeps_no_photo(
    signal_name: str, photo: Path, tmp_path: Path
) -> None:
    with serving(tmp_path, TMPDIR=str(tmp_path)) as (url, server):
        client = gradio_client.Client(url, verbose=False)
        client.predict(gradio_client.handle_file(photo), "classic", api_name="/predict")
        uploads = list(tmp_path.glob("tensight-*/**/ship.jpg"))
        assert len(uploads) == 1
        server.send_signal(signal.Signals[signal_name])
        assert server.wait(120) == 0
    assert list(tmp_path.glob("tensight-*")) == []
