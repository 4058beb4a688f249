"""The README's first command, as a new user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import gradio_client
import pytest

from tests.conftest import ROOT
from tests.support.servers import free_port, wait_until_it_answers


@pytest.mark.long
@pytest.mark.timeout(600)
def test_make_run_serves_the_page_from_a_fresh_clone(tmp_path: Path, photo: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    port = free_port()
    log = tmp_path / "log"
    # Without a desktop no browser is opened on it.
    state = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with log.open("wb") as stream:
        make = subprocess.Popen(
            ["make", "-C", str(clone), "run"],
            env=state | {"TENSIGHT_PORT": str(port)},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(url, make, log)
        client = gradio_client.Client(url, verbose=False)
        sent = gradio_client.handle_file(photo)
        assert client.predict(sent, "classic", api_name="/predict")["model"] == "classic"
    finally:
        os.killpg(make.pid, signal.SIGTERM)
        make.wait(120)
    installed = {path.name for path in (clone / ".venv").glob("lib/python*/site-packages/*")}
    assert "gradio" in installed
    assert not installed & {"tensorflow", "keras", "sklearn", "matplotlib", "pytest"}
