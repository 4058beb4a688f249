"""The tab Teach in Chromium: classes are taught, used and downloaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

import core
from core import locale
from tests.support.drawings import shape_jpeg
from tests.support.visit import (
    ONE_LANGUAGE,
    SIZES,
    keep_screenshot,
    language_of,
    open_tab,
    serious_violations,
    upload_photo,
    visit,
)

_EACH = 5
_BURST = 10
_BLOCK_STORAGE = """Object.defineProperty(window, "localStorage", {
    get: () => { throw new DOMException("blocked", "SecurityError"); },
});"""
_DOT = "button => getComputedStyle(button, '::before').color"
_CAMERA_IS_OFF = "() => window.track.readyState === 'ended'"


def draw(folder: Path, kind: str, seeds: range) -> list[Path]:
    files = []
    for seed in seeds:
        file = folder / f"{kind}-{seed}.jpg"
        file.write_bytes(shape_jpeg(kind, seed))
        files.append(file)
    return files


def open_teach(page: Page) -> Locator:
    """Open the tab, and return the cards of its classes."""
    open_tab(page, locale.page_texts(language_of(page))["tab_teach"])
    cards = page.locator("#teach-cards .card")
    expect(cards).to_have_count(2)
    return cards


def add_class(card: Locator, name: str, files: list[Path]) -> None:
    """Name a class and give it photos."""
    card.locator(".teach-name").fill(name)
    before = card.locator(".teach-photos img").count()
    card.locator(".teach-files").set_input_files(files)
    expect(card.locator(".teach-photos img")).to_have_count(before + len(files))


def take_burst(card: Locator) -> None:
    """Give a class photos of the camera."""
    card.locator(".teach-camera").click()
    expect(card.locator(".teach-shoot")).to_be_focused()
    card.locator(".teach-shoot").click()
    expect(card.locator(".teach-photos img")).to_have_count(_BURST)


def teach_shapes(page: Page, folder: Path) -> None:
    cards = open_teach(page)
    for card, kind in zip(cards.all(), ("circle", "square"), strict=True):
        add_class(card, kind, draw(folder, kind, range(_EACH)))
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said h2")).to_be_visible()


def test_two_classes_are_taught_used_and_downloaded(page: Page, url: str, tmp_path: Path) -> None:
    cards = open_teach(page)
    expect(page.locator("#teach-own")).to_be_hidden()
    page.locator("#teach-title").fill("Circle or camera")
    add_class(cards.first, "circle", draw(tmp_path, "circle", range(_EACH + 1)))
    cards.first.locator(".teach-remove").last.click()
    expect(cards.first.locator(".teach-count")).to_have_text(f"Photos: {_EACH}")
    cards.last.locator(".teach-name").fill("camera")
    take_burst(cards.last)
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said")).to_contain_text("Your classifier is ready")
    expect(page.locator("#teach-report")).to_contain_text(f"of {_EACH + _BURST} photos were")
    expect(page.locator("#teach-report .confusion tbody tr")).to_have_count(2)
    (unseen,) = draw(tmp_path, "circle", range(50, 51))
    upload_photo(page, unseen, "#teach-photo")
    shown = page.locator("#teach-scores .bars li").first
    expect(shown).to_contain_text("circle")
    page.locator("#teach-live").click()
    expect(page.locator("#teach-live-answer h2")).to_contain_text("Camera")
    keep_screenshot(page, "teach")
    page.locator("#teach-live").click()

    with page.expect_download() as told:
        page.locator("#teach-download").click()
    assert told.value.suggested_filename == "circle-or-camera.zip"
    with zipfile.ZipFile(told.value.path()) as archive:
        archive.extractall(tmp_path / "download")
    prediction = core.load(str(tmp_path / "download" / "circle-or-camera")).predict(unseen)
    assert prediction.label == "circle"
    expect(shown).to_contain_text(locale.percent(prediction.confidence))

    page.locator("#teach-copy").click()
    expect(page.locator("#teach-copied")).to_contain_text("Link copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{url}/?model=taught-")
    visit(page, link)
    upload_photo(page, unseen)
    expect(page.locator("#timing")).to_contain_text("Circle or camera · ")
    # A taught classifier is private: visitors are not asked to rate its answers.
    expect(page.locator("#action-right")).to_be_hidden()
    expect(page.locator("#action-wrong")).to_be_hidden()
    expect(page.locator("#action-why")).to_be_enabled()


def test_dots_of_cameras_are_light_red_in_dark_colours(
    blank: Page, url: str, tmp_path: Path
) -> None:
    page = blank
    visit(page, f"{url}/?__theme=dark")
    teach_shapes(page, tmp_path)
    for button in ("#live", "#teach-live", "#teach-cards .teach-camera >> nth=0"):
        assert page.locator(button).evaluate(_DOT) == "rgb(248, 113, 113)", button


def test_classifier_is_taught_more_offered_and_deleted(
    page: Page, url: str, tmp_path: Path
) -> None:
    teach_shapes(page, tmp_path)
    page.locator("#teach-offer").click()
    page.locator("#teach-withdraw").click()
    page.locator("#teach-offer").click()
    expect(page.locator("#teach-about")).to_contain_text("Offered to the operator.")
    # The browser forgets the photos, and the page never kept them.
    visit(page, url)
    cards = open_teach(page)
    expect(page.locator("#teach-model input")).to_have_value("My classifier")
    expect(page.locator("#teach-withdraw")).to_be_visible()
    expect(page.locator("#teach-offer")).to_be_hidden()
    page.locator("#teach-continue").click()
    expect(cards.first.locator(".teach-count")).to_have_text(f"Already taught: {_EACH} · Photos: 0")
    page.locator("#teach-add").click()
    add_class(cards.last, "bars", draw(tmp_path, "bars", range(_EACH)))
    page.locator("#teach-start").click()
    expect(page.locator("#teach-report .confusion tbody tr")).to_have_count(3)
    expect(cards.last.locator(".teach-count")).to_contain_text(f"Already taught: {_EACH}")
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#teach-delete").click()
    expect(page.locator("#teach-empty")).to_be_visible()
    expect(page.locator("#teach-own")).to_be_hidden()


def test_wrong_answer_is_taught_to_its_class(page: Page, tmp_path: Path) -> None:
    teach_shapes(page, tmp_path)
    (photo,) = draw(tmp_path, "square", range(50, 51))
    expect(page.locator("#teach-wrong")).to_be_hidden()
    upload_photo(page, photo, "#teach-photo")
    page.locator("#teach-wrong").click()
    page.locator("#teach-learn").click()
    told = page.locator("#teach-corrected")
    expect(told).to_contain_text("What is in the photo?")
    page.locator("#teach-truth input").click()
    page.get_by_role("option", name="circle").click()
    page.locator("#teach-learn").click()
    expect(told).to_contain_text("“My classifier” has learned from this photo.")
    expect(told).to_contain_text(f"of its {2 * _EACH + 1} photos; before, it was")
    expect(page.locator("#teach-correction")).to_be_hidden()
    keep_screenshot(page, "teach-corrected")
    # The photo is among those of its class, and is not forgotten when they are taught anew.
    counts = page.locator("#teach-cards .teach-count")
    expect(counts).to_have_text([f"Photos: {_EACH + 1}", f"Photos: {_EACH}"])
    expect(page.locator("#teach-report")).to_contain_text(f"of {2 * _EACH + 1} photos were")


@ONE_LANGUAGE
def test_refusals_are_shown_beside_their_class_and_lose_nothing(page: Page, tmp_path: Path) -> None:
    words = locale.page_texts(language_of(page))
    cards = open_teach(page)
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said")).to_contain_text(words["teach_error_few_classes"])
    add_class(cards.first, "circle", draw(tmp_path, "circle", range(_EACH)))
    add_class(cards.last, "", draw(tmp_path, "square", range(2)))
    uploads: list[str] = []
    page.on("request", lambda r: uploads.append(r.url) if r.url.endswith("/upload") else None)
    refusal = cards.last.locator(".refusal")
    page.locator("#teach-start").click()
    expect(refusal).to_contain_text(words["teach_error_no_name"])
    expect(cards.last.locator(".teach-name")).to_be_focused()
    cards.last.locator(".teach-name").fill("square")
    expect(refusal).to_be_hidden()
    page.locator("#teach-start").click()
    expect(refusal).to_contain_text("square")
    expect(cards.first.locator(".refusal")).to_be_hidden()
    assert uploads == []
    # The same photo in another class is found only once the photos are read.
    add_class(cards.last, "square", draw(tmp_path, "circle", range(1)))
    page.locator("#teach-start").click()
    expect(refusal).to_contain_text("circle-0.jpg")
    keep_screenshot(page, f"teach-refused-{language_of(page)}")
    expect(cards.first.locator(".teach-photos img")).to_have_count(_EACH)
    cards.last.locator(".teach-remove").last.click()
    add_class(cards.last, "square", draw(tmp_path, "square", range(2, _EACH)))
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said")).to_contain_text(words["teach_done"])


def test_classifier_is_taught_where_the_browser_blocks_storage(
    page: Page, url: str, tmp_path: Path
) -> None:
    page.add_init_script(_BLOCK_STORAGE)
    visit(page, url)
    teach_shapes(page, tmp_path)
    expect(page.locator("#teach-model input")).to_have_value("My classifier")
    (photo,) = draw(tmp_path, "circle", range(50, 51))
    open_tab(page, "Compare")
    upload_photo(page, photo, "#compared-photo")
    expect(page.locator("#compared .card").last).to_contain_text("My classifier")


def drop(card: Locator, script: str) -> None:
    """Drop files and folders on a card: a script returns the items as JavaScript."""
    card.evaluate(
        """(card, script) => {
            const entryOf = (name, content) => Array.isArray(content)
                ? {name, isDirectory: true, createReader: () => {
                    const parts = [content, []];
                    return {readEntries: done => done(parts.shift())};
                }}
                : {name, isFile: true, file: done => done(content)};
            const event = new Event("drop", {bubbles: true, cancelable: true});
            const dropped = eval(script);
            event.dataTransfer = {
                items: dropped.map(entry => ({webkitGetAsEntry: () => entry})),
                files: dropped.filter(entry => entry.isFile).map(entry => {
                    let found;
                    entry.file(file => { found = file; });
                    return found;
                }),
            };
            card.dispatchEvent(event);
        }""",
        script,
    )


def test_folders_and_photos_without_a_type_are_dropped(page: Page) -> None:
    card = open_teach(page).first
    drop(
        card,
        """const heic = new File(["heic"], "1.HEIC"), notes = new File(["x"], "notes.txt");
        const hidden = new File(["x"], ".DS_Store"), png = new File(["x"], "2.png");
        const typed = new File(["x"], "3", {type: "image/png"});
        const deep = entryOf("deep", [entryOf("3", typed)]);
        const more = [entryOf(".DS_Store", hidden), entryOf("2.png", png), deep];
        [entryOf("1.HEIC", heic), entryOf("notes.txt", notes), entryOf("more", more)]""",
    )
    # The browser replaces a picture by its name once it has failed to show it.
    expect(card.locator(".teach-remove")).to_have_text(["1.HEIC", "2.png", "3"])
    ignored = locale.page_texts("en")["teach_ignored"].format(names="notes.txt")
    expect(card.locator(".refusal")).to_have_text(f"⚠ {ignored}")


def test_files_of_a_folder_that_are_left_out_are_named_together(page: Page) -> None:
    card = open_teach(page).first
    drop(
        card,
        """const big = new File(["x"], "big.png"), notes = new File(["x"], "notes.txt");
        Object.defineProperty(big, "size", {value: 30e6});
        const bad = {name: "bad.png", isFile: true, file: (done, fail) => fail(new Error())};
        const good = new File(["x"], "good.png");
        const all = [bad, entryOf("big.png", big), entryOf("notes.txt", notes)];
        [entryOf("folder", [...all, entryOf("good.png", good)])]""",
    )
    names = card.locator(".teach-remove")
    expect(names).to_have_count(1)
    texts = locale.page_texts("en")
    told = [
        texts["teach_unreadable"].format(name="bad.png"),
        texts["teach_ignored"].format(names="notes.txt"),
        texts["teach_too_large"].format(name="big.png"),
    ]
    expect(card.locator(".refusal")).to_have_text(f"⚠ {' · '.join(told)}")


def test_teaching_waits_for_the_photos_of_a_dropped_folder(page: Page, tmp_path: Path) -> None:
    cards = open_teach(page)
    for card, kind in zip(cards.all(), ("circle", "square"), strict=True):
        add_class(card, kind, draw(tmp_path, kind, range(_EACH)))
    content = list(shape_jpeg("square", 70))
    drop(
        cards.last,
        f"""const file = new File([new Uint8Array({content})], "late.jpg", {{type: "image/jpeg"}});
        const parts = [[entryOf("late.jpg", file)], []];
        const turn = () => new Promise(go => {{ window.go = go; }});
        const read = async done => {{ await turn(); done(parts.shift()); }};
        [{{name: "folder", isDirectory: true, createReader: () => ({{readEntries: read}})}}]""",
    )
    page.locator("#teach-start").click()
    page.evaluate(
        "async () => { window.go(); await new Promise(f => setTimeout(f)); window.go(); }"
    )
    expect(page.locator("#teach-report")).to_contain_text(f"of {2 * _EACH + 1} photos were")


def test_mislabelled_photo_can_be_removed_before_retraining(page: Page, tmp_path: Path) -> None:
    cards = open_teach(page)
    circles = draw(tmp_path, "circle", range(8))
    (wrong,) = draw(tmp_path, "square", range(60, 61))
    add_class(cards.first, "circle", [*circles, wrong])
    add_class(cards.last, "square", draw(tmp_path, "square", range(8)))
    page.locator("#teach-start").click()
    found = page.locator("#teach-notes [data-photo]")
    expect(found).to_have_count(1)
    expect(found.locator("img")).to_be_visible()
    keep_screenshot(page, "teach-mislabelled")
    found.get_by_role("button", name="Remove square-60.jpg").click()
    expect(page.locator("#teach-notice")).to_contain_text("Removed.")
    expect(cards.first.locator(".teach-count")).to_have_text("Photos: 8")
    page.locator("#teach-start").click()
    expect(page.locator("#teach-report")).to_contain_text("of 16 photos were")
    expect(found).to_have_count(0)


@pytest.mark.long
def test_slow_upload_keeps_its_first_photos(page: Page, tmp_path: Path) -> None:
    cards = open_teach(page)
    for card, kind in zip(cards.all(), ("circle", "square"), strict=True):
        add_class(card, kind, draw(tmp_path, kind, range(11)))
    page.clock.install()
    asked: list[str] = []

    def respond(route: Route) -> None:
        asked.append("upload")
        if len(asked) == 1:
            route.fulfill(status=503, headers={"Retry-After": "1"})
        elif len(asked) == 2:
            route.continue_()
        else:
            page.clock.fast_forward(61_000)
            route.continue_()

    def renew(route: Route) -> None:
        asked.append(f"renewed: {len(route.request.post_data_json or [])}")
        route.continue_()

    page.route("**/upload", respond)
    page.route("**/held", renew)
    page.locator("#teach-start").click()
    expect(page.locator("#teach-said h2")).to_be_visible()
    assert asked == ["upload", "upload", "upload", "renewed: 20"]


def test_camera_of_a_class_stops_when_another_tab_is_opened(page: Page) -> None:
    cards = open_teach(page)
    take_burst(cards.first)
    page.evaluate(
        "window.track = document.querySelector('.teach-booth video').srcObject.getTracks()[0]"
    )
    open_tab(page, "Predict")
    page.wait_for_function(_CAMERA_IS_OFF)


@pytest.mark.long
def test_taught_classifier_fits_the_width(page: Page, tmp_path: Path) -> None:
    teach_shapes(page, tmp_path)
    upload_photo(page, draw(tmp_path, "square", range(50, 51))[0], "#teach-photo")
    expect(page.locator("#teach-scores .bars li").first).to_contain_text("square")
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        keep_screenshot(page, f"teach-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_violations(page) == set()
