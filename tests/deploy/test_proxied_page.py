"""Page and HTTP service as deploy/ arranges them: Caddy in front of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gradio_client
import pytest

from core.photos.decode import MAX_BYTES
from tests.conftest import ROOT
from tests.support.caddy import proxy_running
from tests.support.servers import free_port, wait_until_it_answers
from tests.support.service_replicas import replica

KEY = "key-of-page-and-bot"
PATIENCE_S = 300


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_page_and_service_answer_through_the_proxy(tmp_path: Path, photo: Path) -> None:
    page, log = f"127.0.0.1:{free_port()}", tmp_path / "page.log"
    behind = {"TENSIGHT_PROXIES": "1"}
    with (
        replica(tmp_path, TENSIGHT_TRUSTED_KEYS=KEY, **behind) as service,
        proxy_running(tmp_path, page=page, services=[service.address]) as proxy,
        log.open("wb") as output,
    ):
        front = {"TENSIGHT_PREDICTOR_URL": proxy.internal, "TENSIGHT_PREDICTOR_KEY": KEY}
        server = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "web", "--port", page.rpartition(":")[2]],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | behind | front,
        )
        try:
            wait_until_it_answers(f"http://{page}/healthz", server, log)
            client = gradio_client.Client(proxy.public, verbose=False, ssl_verify=False)
            sent = gradio_client.handle_file(photo)
            answer = client.predict(sent, "classic", api_name="/predict")
            assert answer["model"] == "classic"

            with proxy.client() as visitor:
                visitor.timeout = PATIENCE_S
                photo_bytes = photo.read_bytes()
                assert visitor.post("/v1/predict", content=photo_bytes).status_code == 401
                visitor.headers["Authorization"] = f"Bearer {KEY}"
                again = visitor.post("/v1/predict", content=photo_bytes).json()
                assert again["confidence"] == pytest.approx(answer["confidence"], abs=1e-5)
                # The service's own limit comes before the proxy's.
                large = visitor.post("/v1/predict", content=b"x" * (MAX_BYTES + 1))
                assert large.status_code == 413
                assert large.json()["error"]["code"] == "too_large"
        finally:
            server.terminate()
            server.wait(PATIENCE_S)
    assert "Traceback" not in log.read_text()
