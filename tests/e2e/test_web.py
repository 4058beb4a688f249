"""`tensight web` as a process, visited by Chromium and by Gradio's client."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio_client
import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from core.catalog import Catalog
from tests.conftest import ROOT
from tests.ports import free_port, wait_until_it_answers

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


@contextmanager
def serving(
    folder: Path, front: str = "web", **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A running `tensight web`, or another front: its address, and the process."""
    port = free_port()
    log = folder / "web.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENSIGHT_")}
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "core.cli", front, "--port", str(port)],
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
        server.wait(20)
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running `tensight web`."""
    with serving(tmp_path_factory.mktemp("web"), TENSIGHT_MODEL="classic") as (address, _):
        yield address


@pytest.fixture
def page(url: str, chromium: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page in a browser; a request for anything outside this machine fails the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        context = browser.new_context(
            locale=getattr(request, "param", "en-US"),
            permissions=["camera", "clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(url)
        page.wait_for_selector("#photo input[type=file]", state="attached")
        yield page
        browser.close()
    assert [a for a in asked if not a.startswith((url, "data:", "blob:"))] == []


def give(page: Page, photo: Path) -> None:
    page.set_input_files("#photo input[type=file]", photo)


def test_a_photo_gets_an_answer_that_changes_with_the_model(page: Page, photo: Path) -> None:
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text("classic: ", timeout=30_000)
    expect(page.locator("#verdict h2")).not_to_be_empty()
    first = page.locator("#scores").inner_text()
    assert "%" in first
    page.get_by_label("Baseline CNN").check()
    expect(page.locator("#timing")).to_contain_text("baseline: ")
    assert page.locator("#scores").inner_text() != first


def test_a_file_that_is_no_photo_replaces_the_answer(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty(timeout=30_000)
    text = tmp_path / "photo.jpg"
    text.write_text("no photo at all")
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict h2")).to_have_count(0)
    give(page, text)
    expect(page.locator("#verdict")).to_contain_text("This file is no photo.")
    expect(page.locator("#timing")).not_to_contain_text("classic")


def test_the_webcam(page: Page) -> None:
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    expect(page.locator("#timing")).to_contain_text("classic: ", timeout=30_000)


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
    page.get_by_label("Drop an image file here").dispatch_event("drop", {"dataTransfer": transfer})
    expect(page.locator("#timing")).to_contain_text("classic: ", timeout=30_000)


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
    page.get_by_label("Paste from clipboard").click()
    expect(page.locator("#timing")).to_contain_text("classic: ", timeout=30_000)


def test_the_page_shows_how_far_a_model_can_be_trusted(page: Page) -> None:
    page.locator("#trust").get_by_role("button").first.click()
    expect(page.locator("#trust canvas, #trust svg.marks")).to_be_visible(timeout=30_000)
    first = page.locator("#calibration").inner_text()
    assert first.startswith("On 10000 test images, ")
    page.get_by_label("Baseline CNN").check()
    expect(page.locator("#calibration")).not_to_have_text(first)


@pytest.mark.parametrize("page", ["nl-NL"], indirect=True)
def test_dutch_browsers_read_dutch(page: Page, photo: Path) -> None:
    expect(page.get_by_text("Stuur een foto: ")).to_be_visible()
    give(page, photo)
    expect(page.locator("#timing")).to_contain_text("om de foto te lezen", timeout=30_000)


def test_a_phone_sees_the_whole_page(page: Page, photo: Path) -> None:
    page.set_viewport_size({"width": 375, "height": 700})
    give(page, photo)
    expect(page.locator("#verdict h2")).not_to_be_empty(timeout=30_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("name", ["cat_0.jpg", "none_piano.jpg", "ship_0.jpg"])
def test_real_photos(url: str, name: str, photos_folder: Path) -> None:
    client = gradio_client.Client(url, verbose=False)
    photo = gradio_client.handle_file(photos_folder / name)
    answers = [
        client.predict(photo, model, api_name="/predict")[3] for model in ("classic", "baseline")
    ]
    assert answers[0]["scores"] != answers[1]["scores"]
    for answer in answers:
        assert sum(answer["scores"].values()) == pytest.approx(1)


def test_real_photos_in_the_browser(page: Page, photos_folder: Path) -> None:
    give(page, photos_folder / "cat_0.jpg")
    expect(page.locator("#verdict h2")).to_contain_text("cat", timeout=30_000)
    first = page.locator("#scores").inner_text()
    page.get_by_label("Baseline CNN").check()
    expect(page.locator("#timing")).to_contain_text("baseline: ")
    assert page.locator("#scores").inner_text() != first


def test_the_page_asks_the_service_that_the_settings_name(
    photo: Path, tmp_path: Path, catalog: Catalog
) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "page").mkdir()
    with serving(tmp_path / "service", "serve") as (service, process):
        settings = {"TENSIGHT_PREDICTOR_URL": service, "TENSIGHT_MODELS": str(tmp_path / "none")}
        with serving(tmp_path / "page", **settings) as (url, _):
            client = gradio_client.Client(url, verbose=False)
            sent = gradio_client.handle_file(photo)
            answer = client.predict(sent, "classic", api_name="/predict")[3]
            assert answer["scores"] == catalog.load("classic").predict(photo).scores
            process.terminate()
            process.wait(20)
            words, *_, answer = client.predict(sent, "baseline", api_name="/predict")
            assert answer["error"]["code"] == "predictor"
            assert "cannot be reached" in words


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
    expected = f"Nothing can listen on 127.0.0.1, port {port}: Address already in use. Choose"
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
        event = httpx.post(call, json={"data": [{"path": paths[0]}, "classic"]}).json()["event_id"]
        assert '"label"' in httpx.get(f"{call}/{event}", timeout=30).text
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
        assert server.wait(20) == 0
    assert list(tmp_path.glob("tensight-*")) == []
