"""`tensight web` as a process: addresses, signals, uploads, a remote predictor."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import gradio_client
import httpx
import pytest
from playwright.sync_api import Browser, expect

from core import locale
from core.errors import PredictorError
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support.forks import Fork
from tests.support.servers import wait_for
from tests.support.visit import (
    new_page,
    open_tab,
    serving,
    visit,
)


@pytest.mark.long
def test_page_uses_the_service_of_the_settings(
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
            message = locale.format_error(PredictorError("not there"), "en")
            expect(page.locator("#leaderboard")).to_contain_text(message)
            expect(page.locator("#picked-note")).to_contain_text(message)
            page.close()
            error = job.result(timeout=120)["error"]
            assert error["code"] == "predictor"
            assert error["message"] == message


def test_share_option_warns_of_public_access(tmp_path: Path) -> None:
    # Nothing listens there, so that no test makes this machine public.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    local = {"no_proxy": "127.0.0.1,localhost"}
    log = tmp_path / "web.log"
    with serving(tmp_path, "web", "--share", **nowhere, **local):
        wait_for(lambda: "TenSight answers on" in log.read_text())
    said = log.read_text()
    assert "anyone who has the URL can send photos to this machine" in said
    assert "pass through Gradio's servers" in said


def test_mcp_option_serves_the_tools(tmp_path: Path) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    with serving(tmp_path, "web", "--mcp") as (url, _):
        answer = httpx.post(f"{url}/mcp", json=asked, headers=accept, timeout=60)
    assert {tool["name"] for tool in answer.json()["result"]["tools"]} == {
        *("predict", "compare", "models")
    }


def test_taken_port_is_reported(url: str) -> None:
    port = url.rsplit(":", 1)[1]
    command = ["-m", "core.cli", "web", "--port", port]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with Fork(command, environment, stderr=subprocess.PIPE, kind="page") as run:
        _, errors = run.communicate(timeout=300)
    assert run.returncode == 1
    expected = f"Cannot bind to 127.0.0.1:{port}: address already in use. Choose"
    assert expected in errors


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_address_is_served(host: str, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving(tmp_path, TENSIGHT_HOST=host) as (url, _):
        assert url.startswith("http://[::1]:")


def test_stopping_page_leaves_the_uploads_of_others(photo: Path, tmp_path: Path) -> None:
    paths = []
    (tmp_path / "other").mkdir()
    with serving(tmp_path) as (url, _):
        with serving(tmp_path / "other") as (other_url, _):
            for address in (url, other_url):
                with photo.open("rb") as stream:
                    sent = httpx.post(
                        f"{address}/gradio_api/upload", files={"files": stream}, timeout=120
                    )
                paths += sent.json()
        call = f"{url}/gradio_api/call/predict"
        asked = httpx.post(call, json={"data": [{"path": paths[0]}, "classic", False]}, timeout=120)
        event = asked.json()["event_id"]
        assert '"label"' in httpx.get(f"{call}/{event}", timeout=120).text
    assert paths[0] != paths[1]


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_stops_the_page_and_deletes_uploads(
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
