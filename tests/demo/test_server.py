"""The server of the page, without Gradio's other routes."""

from __future__ import annotations

import socket
from pathlib import Path

import gradio_client
import httpx
import pytest

from core.photos.decode import MAX_BYTES
from core.serving.local import LocalPredictor
from demo.classify_many import MAX_PHOTOS
from demo.context import ClientRateLimiter
from tests.conftest import ROOT
from tests.demo.running import ask, serving


def test_file_over_the_size_limit_is_refused(client: gradio_client.Client, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21 * 2**20))
    with pytest.raises(Exception, match=r"413|exceed|too large"):
        ask(client, large)


def test_uploads_are_limited_in_rate_and_size(predictor: LocalPredictor, photo: Path) -> None:
    def send(client: gradio_client.Client, **headers: str) -> int:
        with photo.open("rb") as stream:
            sent = {"files": stream}
            url = f"{client.src}gradio_api/upload"
            return httpx.post(url, files=sent, headers=headers).status_code

    with serving(predictor, upload_limiter=ClientRateLimiter(2), proxies=1) as client:
        for told in ({"x-forwarded-for": "1.1.1.1, 2.2.2.2"}, {"x-forwarded-for": "9.9.9.9"}):
            assert [send(client, **told) for _ in range(3)] == [200, 200, 429]
        # What stands before the last address may be made up.
        assert send(client, **{"x-forwarded-for": "3.3.3.3, 2.2.2.2"}) == 429
        assert first_response(client, 2**40).startswith(b"HTTP/1.1 413")
        chunks = (each for each in [b"x"])
        assert httpx.post(f"{client.src}gradio_api/upload", content=chunks).status_code == 411


def first_response(client: gradio_client.Client, size: int) -> bytes:
    """Return the first bytes of the response to an upload of this size whose body is not sent."""
    host, port = client.src.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as asking:
        asking.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: page\r\nExpect: 100-continue\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        return asking.recv(100)


def test_upload_may_hold_a_whole_batch(client: gradio_client.Client) -> None:
    assert first_response(client, MAX_PHOTOS * MAX_BYTES).startswith(b"HTTP/1.1 100")


@pytest.mark.parametrize(
    "path",
    [
        *("monitoring", "monitoring/summary"),
        *("gradio_api/runs", "gradio_api/run-history/buckets", "gradio_api/run-history/records"),
    ],
)
def test_unused_gradio_routes_are_disabled(client: gradio_client.Client, path: str) -> None:
    assert httpx.get(f"{client.src}{path}").status_code in (403, 404)
    assert client.config["footer_links"] == ["api"]


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "pyproject.toml"), "../etc/passwd"])
def test_files_of_the_server_are_not_served(client: gradio_client.Client, path: str) -> None:
    assert httpx.get(f"{client.src}gradio_api/file={path}").status_code in (403, 404)


def test_health_route_responds(client: gradio_client.Client) -> None:
    assert httpx.get(f"{client.src}healthz").json() == {"status": "ok"}
