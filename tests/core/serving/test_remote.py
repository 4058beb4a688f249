from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from core.bundle.config import Base
from core.errors import (
    BusyError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    RateError,
    UnavailableError,
)
from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings, processors
from core.teaching.base import TeachingBase
from tests.support.catalogs import SlowCatalog
from tests.support.drawings import shape_jpeg
from tests.support.http_service import MODELS, PATIENCE_S, post, serving
from tests.support.servers import LOOK_S, free_port


def test_remote_predictor_returns_the_local_numbers(
    url: str, photo: Path, catalog: Catalog, ship: Image.Image
) -> None:
    remote = RemotePredictor(url)
    local = LocalPredictor(catalog, queue_size=4, deadline_s=30)

    async def both(what: Any) -> None:
        ours = await remote.predict(what, model="classic", saliency=True)
        theirs = await local.predict(what, model="classic", saliency=True)
        assert ours.scores == theirs.scores
        assert (ours.photo, ours.label, ours.verdict) == (
            theirs.photo,
            theirs.label,
            theirs.verdict,
        )
        assert ours.saliency is not None
        assert theirs.saliency is not None
        assert np.array_equal(ours.saliency, theirs.saliency)

    for what in (photo, str(photo), photo.read_bytes(), ship):
        asyncio.run(both(what))
    assert remote.default_model() == local.default_model()
    assert remote.models() == local.models()
    local.close()
    remote.close()


def test_remote_previews_equal_local_ones(catalog: Catalog, photo: Path, url: str) -> None:
    remote = RemotePredictor(url)
    local = LocalPredictor(catalog, queue_size=4, deadline_s=30)
    there, here = (
        asyncio.run(
            each.predict_with_preview(photo, side=200, model="classic", saliency=True, client="a")
        )
        for each in (remote, local)
    )
    assert there.prediction.scores == pytest.approx(here.prediction.scores, abs=1e-5)
    assert there.prediction.saliency is not None
    assert np.array_equal(there.preview, here.preview)
    assert np.array_equal(there.model_input, here.model_input)
    assert asyncio.run(remote.archival_jpeg(photo)) == asyncio.run(local.archival_jpeg(photo))
    remote.close()
    local.close()
    with pytest.raises(UnavailableError, match="closed"):
        asyncio.run(remote.archival_jpeg(photo))


def test_remote_predictor_raises_the_errors_of_the_service(
    url: str, tmp_path: Path, jpeg: bytes
) -> None:
    remote = RemotePredictor(url)
    with pytest.raises(ImageError, match="This is not a photo") as caught:
        asyncio.run(remote.predict(b"no photo"))
    assert caught.value.code == "not_an_image"
    with pytest.raises(ModelNotFoundError, match="no model 'x'"):
        asyncio.run(remote.predict(jpeg, model="x"))
    with pytest.raises(PhotoReadError, match="There is no file"):
        asyncio.run(remote.predict(tmp_path / "missing.jpg"))
    with pytest.raises(ImageError, match="larger than 20 MB"):
        asyncio.run(remote.predict(b"x" * (MAX_BYTES + 1)))
    remote.close()
    with pytest.raises(UnavailableError, match="closed"):
        asyncio.run(remote.predict(jpeg))


def test_unreachable_service_is_reported(jpeg: bytes) -> None:
    remote = RemotePredictor(f"http://127.0.0.1:{free_port()}", timeout_s=1)
    for ask in (lambda: asyncio.run(remote.predict(jpeg)), remote.models):
        with pytest.raises(
            UnavailableError, match=r"is not available: .*connect.*within 1 s\. Check"
        ):
            ask()
    remote.close()


def test_endless_response_times_out(jpeg: bytes) -> None:
    """The server sends a byte now and then, so that no single read times out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not gone.is_set():
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return
                    gone.wait(0.05)

        server = threading.Thread(target=trickle)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            closing(RemotePredictor(url, timeout_s=0.5)) as remote,
            pytest.raises(UnavailableError, match="in time"),
        ):
            asyncio.run(remote.predict(jpeg))
        server.join(PATIENCE_S)  # the connection was closed on it
        assert not server.is_alive()
        gone.set()


def test_response_of_another_server_is_reported(jpeg: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer()

        def _answer(self) -> None:
            body = b'{"models": [{"name": "x"}], "default": "x"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    with closing(RemotePredictor(f"http://127.0.0.1:{server.server_port}")) as remote:
        for ask in (lambda: asyncio.run(remote.predict(jpeg)), remote.models):
            with pytest.raises(
                UnavailableError, match="is not that of a TenSight service of this version"
            ):
                ask()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_error_of_a_proxy_is_retried(url: str, jpeg: bytes, status: int) -> None:
    """The first response is the proxy's own, as that of Ray's where a replica has died."""
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            photo = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            if len(asked) == 1:
                self._answer(status, b"Internal Server Error")
            else:
                answer = post(url, content=photo, params={"model": "classic"})
                self._answer(answer.status_code, answer.content)

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    with closing(RemotePredictor(address, timeout_s=PATIENCE_S)) as remote:
        assert asyncio.run(remote.predict(jpeg)).model == "classic"
    assert len(asked) == 2
    server.shutdown()
    thread.join()
    server.server_close()


def test_closing_fails_running_requests(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow) as url:
        remote = RemotePredictor(url)
        told: list[Exception] = []

        def ask() -> None:
            try:
                asyncio.run(remote.predict(jpeg))
            except UnavailableError as error:
                told.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        slow.wait_until_asked(1)
        remote.close()
        thread.join(PATIENCE_S)
        slow.go.set()
    assert [str(error) for error in told] == ["The predictor is closed."]


def test_best_effort_photo_is_dropped_by_a_busy_service(jpeg: bytes) -> None:
    slow, workers = SlowCatalog(), processors()
    with serving(Settings(models=MODELS), slow) as url, closing(RemotePredictor(url)) as remote:

        async def ask() -> None:
            busy = [asyncio.create_task(remote.predict(jpeg)) for _ in range(workers)]
            await asyncio.to_thread(slow.wait_until_asked, workers)
            with pytest.raises(BusyError):
                await remote.predict(jpeg, best_effort=True)
            slow.go.set()
            await asyncio.gather(*busy)

        asyncio.run(ask())


def test_request_is_retried_until_the_service_starts(catalog: Catalog, jpeg: bytes) -> None:
    port = free_port()
    remote = RemotePredictor(f"http://127.0.0.1:{port}", timeout_s=20)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await remote.predict(jpeg, model="classic")).model)

    asking = threading.Thread(target=lambda: asyncio.run(ask()))
    asking.start()
    time.sleep(0.3)
    with serving(Settings(models=MODELS), catalog, port=port):
        asking.join(PATIENCE_S)
    remote.close()
    assert answers == ["classic"]


def test_remote_predictor_sends_a_hash_of_its_client(
    catalog: Catalog, jpeg: bytes, photo: Path
) -> None:
    key = "front-0123456789"
    settings = Settings(models=MODELS, trusted_keys=(SecretStr(key),), rate_per_minute=1)
    with serving(settings, catalog) as url:
        remote = RemotePredictor(url, key=key)
        for client in ("visitor:192.0.2.1", "visitor:192.0.2.2"):
            asyncio.run(remote.predict(jpeg, client=client))
        with pytest.raises(RateError):
            asyncio.run(remote.predict(jpeg, client="visitor:192.0.2.1"))
        remote.close()


def test_remote_embedding_equals_the_local_one(
    remote: RemotePredictor, base: TeachingBase, models: Path
) -> None:
    photo = shape_jpeg("circle", 1)
    with closing(
        LocalPredictor(Catalog(Settings(models=models)), queue_size=4, deadline_s=PATIENCE_S)
    ) as local:
        here = asyncio.run(local.embed(photo, base.reference, features=True))
    there = asyncio.run(remote.embed(photo, base.reference, features=True))
    np.testing.assert_allclose(there.vector, here.vector, atol=1e-5)
    assert (there.model, there.revision) == ("classic", base.bundle.revision)
    assert there.features is not None
    np.testing.assert_allclose(there.features.mean(axis=(0, 1)), there.vector, atol=1e-5)
    assert asyncio.run(remote.embed(photo, base.reference)).features is None


def test_missing_base_of_the_service_is_named(remote: RemotePredictor) -> None:
    with pytest.raises(ModelNotFoundError, match="other with the SHA-256 000000000000 is not"):
        asyncio.run(remote.embed(shape_jpeg("circle", 1), Base(name="other", sha256="0" * 64)))


def test_photo_that_cannot_be_embedded_is_reported(
    remote: RemotePredictor, base: TeachingBase
) -> None:
    with pytest.raises(ImageError):
        asyncio.run(remote.embed(b"no photo", base.reference))
